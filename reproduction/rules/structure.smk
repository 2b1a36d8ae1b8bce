# The filaments of planeloc's demo stand for the paper's microtubules (Fig. 12), by the paper's network and rules.
def structure(file):
    """A result of the sample `filaments`; nothing where the settings leave Fig. 12 out."""
    return f"<results>/filaments/{file}" if config["structure"] else []


if config["structure"]:

    module product:
        snakefile:
            "../../workflow/Snakefile"
        config:
            {
                **{
                    name: f"config/demo/{name}.tsv"
                    for name in ["samples", "calibrations"]
                },
                "simulation": "config/demo/simulation.yaml",
                "pathvars": {"results": config["results"]},
                "train": {"network": "upsampling", **config["train"]},
                "localize": {"threshold": 0.05, "refine": "none"},
            }

    use rule * from product as product_*
