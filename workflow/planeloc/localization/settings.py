"""Settings of the `localize` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.devices import DEVICES, PRECISIONS
from planeloc.core.settings import setting, threshold

CLUSTERS = ("local", "cuda", "slurm")
MODES = ("sparse", "dense")
REFINEMENTS = ("none", "likelihood")
ON_MISMATCH = ("warn", "stop")


@dataclass(frozen=True)
class ClusterSettings:
    """Where blocks run."""

    workers: int = setting(
        0, "Worker processes on this machine. 0: one per GPU, or per CPU core.", minimum=0, command_line_only=True
    )
    cluster: str = setting(
        "local",
        "Where workers run. local: on this machine; cuda: on its GPUs, by dask-cuda; slurm: as jobs, by dask-jobqueue.",
        choices=CLUSTERS,
    )
    slurm_jobs: int = setting(4, "Number of Slurm jobs with one worker each (cluster slurm).", minimum=1, advanced=True)
    scheduler: str = setting(
        "", "Address or scheduler file of a running Dask cluster; empty: start one.", advanced=True
    )
    allow_unencrypted: bool = setting(
        False, "Accept a scheduler without TLS. Anyone who reaches it can run code as you.", advanced=True
    )
    dashboard: bool = setting(
        False, "Show Dask's dashboard on port 8787, for this machine only; needs bokeh.", advanced=True
    )


@dataclass(frozen=True)
class LocalizeSettings(ClusterSettings):
    """How to find molecules, and on what."""

    # These stand before the setting that has the name of their function.
    density_ratio_warn: float = threshold(
        2.0, "warn above", "ratio of the movie's density to the highest of the training", minimum=1
    )
    width_ratio_warn: float = threshold(
        1.15, "warn above", "ratio of the movie's spot width to that of the training's PSF, or its inverse", minimum=1
    )
    threshold: float = setting(
        0.0,
        "Minimum detection probability: of a molecule (regression), or of a voxel around which molecules are searched"
        " (upsampling). 0: 0.3 (regression) or 0.005 (upsampling).",
        minimum=1e-4,
        maximum=0.999,
        automatic=0,
    )
    mode: str = setting(
        "sparse",
        "Where the network runs. sparse: only where a filter finds candidates; dense: everywhere.",
        choices=MODES,
        advanced=True,
    )
    candidate_threshold: float = setting(
        4.0,
        "Minimum signal of a candidate, in standard deviations of the noise (mode sparse).",
        minimum=0,
        advanced=True,
    )
    on_distribution_mismatch: str = setting(
        "warn",
        "What to do if background, brightness, spot width or density of the movie differ from the training data."
        " warn: continue with a warning; stop: end before anything is computed.",
        choices=ON_MISMATCH,
        was=("on_domain_mismatch",),
    )
    refine: str = setting(
        "likelihood",
        "How positions are refined. likelihood: maximum-likelihood fit of all molecules of a frame, starting from those"
        " of the network; none: not at all.",
        choices=REFINEMENTS,
    )
    inter_camera_drift_nm: float = setting(
        -1.0,
        "Standard deviation of the inter-camera drift along one axis, new in every frame. -1: the drift is estimated"
        " from all of the movie.",
        unit="nm",
        minimum=0,
        automatic=-1,
        advanced=True,
        was=("drift_nm",),
    )
    block_frames: int = setting(100, "Frames per task; prefer multiples of 20.", minimum=1, advanced=True)
    device: str = setting("auto", "Where the network runs.", choices=DEVICES)
    precision: str = setting(
        "auto", "Floating-point format. auto: bfloat16 where the hardware has it.", choices=PRECISIONS, advanced=True
    )
