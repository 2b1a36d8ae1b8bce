"""Settings of the `synchronize` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold


@dataclass(frozen=True)
class SynchronizeSettings:
    """Whether cameras that are out of step are put in step."""

    mode: str = setting(
        "auto",
        "auto: images of a camera that lags are used at their own moment; check: stop if one lags; never: neither.",
        choices=("auto", "check", "never"),
    )
    maximum_lag_frames: int = setting(
        10, "Largest lag between two cameras that is looked for.", unit="frames", minimum=1, maximum=1000, advanced=True
    )
    every_frame: bool = setting(
        False, "Look at every frame, and not at parts of a movie of more than 4,000 frames.", advanced=True
    )
    dark_fraction_fail: float = threshold(
        0.9,
        "stop above",
        "fraction of the movie in which a camera sees no light while the others see molecules",
        minimum=0,
        maximum=1,
    )
    lag_significance_warn: float = threshold(
        10.0,
        "warn below",
        "agreement of a camera with the others, in standard deviations of chance",
        minimum=0,
    )
