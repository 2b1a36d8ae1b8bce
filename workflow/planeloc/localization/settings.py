"""Settings of the `localize` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.devices import DEVICES, PRECISIONS
from planeloc.core.settings import setting

CLUSTERS = ("local", "cuda", "slurm")
MODES = ("sparse", "dense")
REFINEMENTS = ("none", "likelihood")
ON_MISMATCH = ("warn", "stop")


@dataclass(frozen=True)
class ClusterSettings:
    """Where blocks run."""

    workers: int = setting(0, "Processes on this machine; 0: one per GPU, or per CPU core.", minimum=0)
    cluster: str = setting(
        "local",
        "What starts workers: this machine; cuda: it, by dask-cuda; slurm: jobs, by dask-jobqueue.",
        choices=CLUSTERS,
    )
    slurm_jobs: int = setting(4, "With cluster slurm: jobs, one worker each.", minimum=1)
    scheduler: str = setting("", "Address or scheduler file of a running Dask cluster; empty: start one.")
    allow_unencrypted: bool = setting(False, "Accept a scheduler without TLS: whoever reaches it can run code as you.")
    dashboard: bool = setting(False, "Dask's dashboard, for this machine only, on port 8787; needs bokeh.")


@dataclass(frozen=True)
class LocalizeSettings(ClusterSettings):
    """How to find molecules, and on what."""

    threshold: float = setting(
        0.0,
        "Probability of a molecule (regression), or of a voxel from which its surroundings are looked at (upsampling);"
        " from 0.0001 on; 0: 0.3 or 0.005.",
        minimum=0,
        maximum=0.999,
    )
    mode: str = setting(
        "sparse", "sparse: the network looks closely only where a filter sees light; dense: everywhere.", choices=MODES
    )
    candidate_threshold: float = setting(
        4.0, "sparse: light of a candidate over the noise, in standard deviations.", minimum=0
    )
    on_domain_mismatch: str = setting(
        "warn",
        "If background, brightness, spot sizes or density of the movie are not what the network was trained for."
        " warn: say so and go on; stop: end before anything is computed.",
        choices=ON_MISMATCH,
    )
    refine: str = setting(
        "likelihood",
        "likelihood: fit all molecules of a frame to the images, starting from the network's; none: do not.",
        choices=REFINEMENTS,
    )
    drift_nm: float = setting(
        -1.0,
        "Standard deviation of a plane's drift per frame along one axis, nm; -1: as the network was trained.",
        minimum=-1,
    )
    block_frames: int = setting(100, "Frames in one task; multiples of 20 waste nothing.", minimum=1)
    device: str = setting("auto", "Where the network runs.", choices=DEVICES)
    precision: str = setting("auto", "auto: bfloat16 where the hardware has it.", choices=PRECISIONS)
