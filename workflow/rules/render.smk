# Filtered localizations -> images to look at (PNG) and to measure in (OME-TIFF).
rule render:
    input:
        localizations=rules.filter.output.localizations,
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
        tiff="<results>/{sample}/depth.ome.tif",
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
        "planeloc render --localizations {input.localizations:q} {params.options} "
        "--depth-image {output.depth_image:q} --voxel-image {output.voxel_image:q} "
        "--tiff {output.tiff:q} --voxel-tiff {output.voxel_tiff:q} "
        "--provenance {output.provenance:q} 2>&1 | tee -i {log:q}"
