# Localizations -> images to look at (PNG) and to measure in (OME-TIFF, OME-Zarr).
# The table that is drawn, here, in the views and in 3D.
PICTURED = {
    "filtered": rules.filter.output.localizations,
    "linked": rules.link.output.localizations,
}[config["render"]["localizations"]]


rule render:
    input:
        localizations=PICTURED,
        drift=rules.correct_drift.output.trajectory,
    output:
        depth_image=report(
            "<results>/{sample}/depth.png",
            caption="../report/depth.rst",
            category="Sample {sample}",
            labels={"figure": "Super-resolution image, coloured by depth"},
        ),
        voxel_image=report(
            "<results>/{sample}/voxels.png",
            caption="../report/voxels.rst",
            category="Sample {sample}",
            labels={"figure": "Voxels that hold molecules, coloured by depth"},
        ),
        projections=report(
            "<results>/{sample}/projections.png",
            caption="../report/projections.rst",
            category="Sample {sample}",
            labels={"figure": "Views from above and from the sides"},
        ),
        slices=report(
            "<results>/{sample}/slices.png",
            caption="../report/slices.rst",
            category="Sample {sample}",
            labels={"figure": "Slices"},
        ),
        drift_image=report(
            "<results>/{sample}/before_after.png",
            caption="../report/before_after.rst",
            category="Sample {sample}",
            labels={"figure": "With and without sample drift"},
        ),
        tiff="<results>/{sample}/depth.ome.tif",
        zarr=directory("<results>/{sample}/depth.ome.zarr"),
        voxel_tiff="<results>/{sample}/voxels.ome.tif",
        provenance="<results>/{sample}/render.provenance.json",
    log:
        "<logs>/render/{sample}.log",
    benchmark:
        "<benchmarks>/render/{sample}.tsv"
    params:
        options=options("render"),
        version=stage_version("render"),
    shell:
        "planeloc render --localizations {input.localizations:q} --drift {input.drift:q} {params.options} "
        "--depth-image {output.depth_image:q} --voxel-image {output.voxel_image:q} "
        "--projections {output.projections:q} --slices {output.slices:q} --drift-image {output.drift_image:q} "
        "--tiff {output.tiff:q} --voxel-tiff {output.voxel_tiff:q} --zarr {output.zarr:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
