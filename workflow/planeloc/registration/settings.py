"""Settings of the `register` and `update-registration` stages."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold

MODELS = ("auto", "affine", "quadratic")
FEWEST_MATCHED = 4


@dataclass(frozen=True)
class RegisterSettings:
    """How beads are found and matched, and how good the transforms between the cameras must be."""

    window_nm: float = setting(
        2100.0, "Side of the square fitted around a bead.", unit="nm", minimum=500, advanced=True
    )
    isolation_nm: float = setting(
        900.0, "Minimum distance between two beads; closer ones are excluded.", unit="nm", minimum=0, advanced=True
    )
    border_nm: float = setting(
        500.0,
        "Minimum distance of a bead from the edge of the field; closer ones are excluded.",
        unit="nm",
        minimum=0,
        advanced=True,
    )
    minimum_snr: float = setting(
        6.0, "Minimum signal-to-noise ratio of a bead in its brightest slice.", minimum=3, advanced=True
    )
    beads_move: bool = setting(False, "Match every frame independently, for a movie of moving particles.")
    model: str = setting(
        "auto",
        "Transform between the cameras. auto: quadratic where cross-validation supports it, else affine.",
        choices=MODELS,
    )
    maximum_rotation_deg: float = setting(
        5.0,
        "Largest rotation from the nearest of the 8 orientations: multiples of 90°, mirrored or not.",
        unit="°",
        minimum=0,
        maximum=20,
        advanced=True,
    )
    maximum_scale_change: float = setting(
        0.03, "Largest relative difference in magnification.", minimum=0, maximum=0.2, advanced=True
    )
    maximum_shift: float = setting(
        0.34, "Largest shift, as a fraction of the field.", minimum=0, maximum=1, advanced=True
    )
    tolerance_px: float = setting(
        2.0, "Largest distance between two beads that are matched.", unit="px", minimum=0.1, advanced=True
    )
    minimum_matched: int = threshold(4, "stop below", "number of matched beads per camera", minimum=FEWEST_MATCHED)
    recommended_matched: int = threshold(8, "warn below", "number of matched beads per camera", minimum=4)
    residual_warn_px: float = threshold(0.15, "warn above", "rms residual", unit="px", minimum=0)
    residual_fail_px: float = threshold(1.0, "stop above", "rms residual", unit="px", minimum=0)
    leave_one_out_warn_px: float = threshold(0.3, "warn above", "leave-one-out error", unit="px", minimum=0)
    common_slices_warn: int = threshold(
        4, "warn below", "number of beads that a camera and the reference image well on the same slices", minimum=0
    )
    second_best_match_warn: float = threshold(
        0.5, "warn above", "significance of the second-best match, relative to the best", minimum=0, was=("rival_warn",)
    )
    second_best_match_fail: float = threshold(
        0.8, "stop above", "significance of the second-best match, relative to the best", minimum=0, was=("rival_fail",)
    )
    chance_matches_warn: float = threshold(
        1e-4,
        "warn above",
        "expected number of transforms that match as well by chance",
        minimum=0,
        was=("chance_warn",),
    )
    chance_matches_fail: float = threshold(
        1e-2,
        "stop above",
        "expected number of transforms that match as well by chance",
        minimum=0,
        was=("chance_fail",),
    )
    transform_sd_warn_nm: float = threshold(
        5.0,
        "warn above",
        "standard deviation of the transform, rms over the field",
        unit="nm",
        minimum=0,
        was=("map_sd_warn_nm",),
    )
    transform_sd_fail_nm: float = threshold(
        50.0,
        "stop above",
        "standard deviation of the transform, rms over the field",
        unit="nm",
        minimum=0,
        was=("map_sd_fail_nm",),
    )
    corner_sd_warn_nm: float = threshold(
        10.0, "warn above", "standard deviation of the transform in the worst corner", unit="nm", minimum=0
    )
    stage_drift_warn_nm: float = threshold(
        12.0, "warn above", "rms lateral stage drift", unit="nm", minimum=0, was=("motion_warn_nm",)
    )
    bead_motion_warn_nm: float = threshold(
        12.0,
        "warn above",
        "rms motion of a typical bead relative to the others",
        unit="nm",
        minimum=0,
        was=("own_motion_warn_nm",),
    )
    bead_motion_fail_nm: float = threshold(
        60.0,
        "stop above",
        "rms motion of a typical bead relative to the others",
        unit="nm",
        minimum=0,
        was=("own_motion_fail_nm",),
    )
    affine_area: float = setting(
        0.03,
        "Minimum fraction of the field that the matched beads span; below it, only a shift is fitted.",
        minimum=0,
        maximum=1,
        advanced=True,
    )
    area_warn: float = threshold(
        0.15, "warn below", "fraction of the field that the matched beads span", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class UpdateRegistrationSettings:
    """Whether the transforms are updated where the movie shows that they no longer hold."""

    mode: str = setting(
        "auto",
        "auto: update the transform of a camera that is displaced in the movie; check: stop there; never: neither.",
        choices=("auto", "check", "never"),
    )
    displacement_px: float = threshold(
        0.5,
        "warn above",
        "displacement of a camera in the movie, from which its transform is updated",
        unit="px",
        minimum=0,
    )
    registration_significance_warn: float = threshold(
        10.0,
        "warn below",
        "agreement of a camera's images with those of the others, in standard deviations of chance",
        minimum=0,
    )
