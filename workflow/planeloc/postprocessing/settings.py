"""Settings of the `filter`, `correct-drift` and `link` stages."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold


@dataclass(frozen=True)
class FilterSettings:
    """What a localization must fulfil; the defaults keep all but the least probable."""

    minimum_probability: float = setting(0.1, "Minimum detection probability.", minimum=0, maximum=1)
    minimum_photons: float = setting(0.0, "Minimum photon count.", unit="photons", minimum=0)
    maximum_lateral_sd_nm: float = setting(
        1e4,
        "Largest lateral precision: root mean square of the standard deviations in x and y.",
        unit="nm",
        minimum=0,
    )
    maximum_axial_sd_nm: float = setting(
        1e4, "Largest localization precision (standard deviation) in z.", unit="nm", minimum=0
    )
    maximum_goodness_of_fit: float = setting(
        1e4,
        "Largest goodness of fit: 1 where the model explains the pixels, larger where it does not.",
        minimum=0,
        advanced=True,
    )
    expression: str = setting(
        "",
        "Condition that a localization must fulfil besides, such as photons > 800 and z_sd < 40; none if empty.",
    )
    minimum_depth_nm: float = setting(-1e4, "Smallest depth z.", unit="nm", advanced=True)
    maximum_depth_nm: float = setting(1e4, "Largest depth z.", unit="nm", advanced=True)
    border_nm: float = setting(0.0, "Minimum distance from the edge of the field.", unit="nm", minimum=0, advanced=True)
    first_frame: int = setting(0, "First frame whose localizations are kept.", minimum=0, advanced=True)
    last_frame: int = setting(
        -1,
        "Last frame whose localizations are kept; -1: the last of the movie.",
        minimum=0,
        automatic=-1,
        advanced=True,
    )
    density_radius_nm: float = setting(
        250.0,
        "Radius of the circle in which the column local_density counts localizations.",
        unit="nm",
        minimum=10,
        advanced=True,
    )


@dataclass(frozen=True)
class CorrectDriftSettings:
    """How the drift of the sample is corrected, and how well it should be known."""

    mode: str = setting(
        "auto",
        "auto: correct the sample drift if the localizations show a significant one; never: keep the table.",
        choices=("auto", "never"),
    )
    minimum_probability: float = setting(
        0.3,
        "Minimum detection probability of the localizations from which the drift is estimated.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    minimum_significance: float = setting(
        4.0,
        "How many standard deviations the gain in sharpness must be above zero for the drift to be corrected; half as "
        "many where both halves of the field show the same drift.",
        minimum=0,
        maximum=1000,
        advanced=True,
    )
    unknown_lateral_sd_nm: float = setting(
        15.0, "Localization precision in x and y where the table has none.", unit="nm", minimum=0.1, advanced=True
    )
    unknown_axial_sd_nm: float = setting(
        40.0, "Localization precision in z where the table has none.", unit="nm", minimum=0.1, advanced=True
    )
    drift_sd_lateral_warn_nm: float = threshold(
        10.0, "warn above", "lateral standard deviation of the sample drift", unit="nm", minimum=0
    )
    drift_sd_axial_warn_nm: float = threshold(
        25.0, "warn above", "axial standard deviation of the sample drift", unit="nm", minimum=0
    )
    halves_disagreement_warn: float = threshold(
        2.5,
        "warn above",
        "disagreement of the drift in two halves of the field, in standard deviations",
        minimum=0,
    )
    detectability_warn: float = threshold(
        4.0, "warn below", "significance that an artificial drift of six precisions would have", minimum=0
    )
    unconfirmed_drift_warn: float = threshold(
        5.0,
        "warn above",
        "drift over its standard deviation where the table is not corrected",
        minimum=0,
    )


@dataclass(frozen=True)
class LinkSettings:
    """How the localizations of a blink are linked."""

    mode: str = setting(
        "auto",
        "auto: link the localizations of a blink, if blinks are longer than a frame; never: one row per localization.",
        choices=("auto", "never"),
    )
    maximum_gap_frames: int = setting(
        4,
        "Frames within a blink in which the molecule is not found, at most, in succession.",
        minimum=0,
        maximum=50,
        advanced=True,
    )
    maximum_false_links: float = setting(
        0.3,
        "Expected fraction of links between different molecules above which the table is not linked.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    shared_lateral: float = setting(
        0.12,
        "Part of the variance of x and y that all frames of a blink share, so that it does not average down.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    shared_axial: float = setting(0.06, "The same part of the variance of z.", minimum=0, maximum=1, advanced=True)
    unknown_lateral_sd_nm: float = setting(
        15.0, "Localization precision in x and y where the table has none.", unit="nm", minimum=0.1, advanced=True
    )
    unknown_axial_sd_nm: float = setting(
        40.0, "Localization precision in z where the table has none.", unit="nm", minimum=0.1, advanced=True
    )
    false_links_warn: float = threshold(
        0.05, "warn above", "expected fraction of links between different molecules", minimum=0
    )
    scatter_warn: float = threshold(
        1.25,
        "warn above",
        "scatter of a molecule's localizations, over the stated standard deviation",
        minimum=0,
    )
