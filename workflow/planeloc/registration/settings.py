"""Settings of the `register` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting

MODELS = ("auto", "affine", "quadratic")
FEWEST_MATCHED = 4


@dataclass(frozen=True)
class RegisterSettings:
    """How beads are found and matched, and how good the map must be."""

    window_nm: float = setting(2100.0, "Side of the square fitted around a bead, nm.", minimum=500)
    isolation_nm: float = setting(900.0, "Beads closer to another than this are left out, nm.", minimum=0)
    border_nm: float = setting(500.0, "Beads closer to the border than this are left out, nm.", minimum=0)
    minimum_snr: float = setting(6.0, "Brightness of a bead over the noise, on its best slice.", minimum=3)
    beads_move: bool = setting(False, "Take every frame by itself: for a movie of moving particles.")
    model: str = setting(
        "auto", "Map of a camera; auto: quadratic only where cross-validation asks for it.", choices=MODELS
    )
    maximum_rotation_deg: float = setting(5.0, "Rotation from one of the 8 orientations, °.", minimum=0, maximum=20)
    maximum_scale_change: float = setting(0.03, "Relative difference in magnification.", minimum=0, maximum=0.2)
    maximum_shift: float = setting(0.34, "Shift as a share of the field.", minimum=0, maximum=1)
    tolerance_px: float = setting(2.0, "Distance at which two points may be the same while matching, px.", minimum=0.1)
    minimum_matched: int = setting(4, "Fewest matched beads per camera; fewer stop the run.", minimum=FEWEST_MATCHED)
    recommended_matched: int = setting(8, "Fewest matched beads per camera without a warning.", minimum=4)
    residual_warn_px: float = setting(0.15, "Rms residual that warns, px.", minimum=0)
    residual_fail_px: float = setting(1.0, "Rms residual that stops the run, px.", minimum=0)
    rival_warn: float = setting(0.5, "Significance of the second-best match over the best that warns.", minimum=0)
    rival_fail: float = setting(
        0.8, "Significance of the second-best match over the best that stops the run.", minimum=0
    )
    chance_warn: float = setting(1e-4, "Expected number of maps that match as well by chance, that warns.", minimum=0)
    chance_fail: float = setting(
        1e-2, "Expected number of maps that match as well by chance, that stops the run.", minimum=0
    )
    map_sd_warn_nm: float = setting(
        5.0, "Standard deviation of the map, rms over the field, that warns, nm.", minimum=0
    )
    map_sd_fail_nm: float = setting(
        50.0, "Standard deviation of the map, rms over the field, that stops the run, nm.", minimum=0
    )
    corner_sd_warn_nm: float = setting(
        10.0, "Standard deviation of the map in the worst corner that warns, nm.", minimum=0
    )
    motion_warn_nm: float = setting(12.0, "Rms wandering of the beads during the scan that warns, nm.", minimum=0)
    own_motion_warn_nm: float = setting(
        12.0, "Rms motion of a typical bead relative to the others that warns, nm.", minimum=0
    )
    own_motion_fail_nm: float = setting(
        60.0, "Rms motion of a typical bead relative to the others that stops the run, nm.", minimum=0
    )
    affine_area: float = setting(0.03, "Share of the field below which only a shift is fitted.", minimum=0, maximum=1)
    area_warn: float = setting(0.15, "Share of the field between the matched beads that warns.", minimum=0, maximum=1)
