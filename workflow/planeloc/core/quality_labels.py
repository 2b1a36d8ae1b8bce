"""Label and unit of every quality value by its key, for figures, messages and reports.

A key without an entry here is read as words: ``stage_step_error_nm`` is "stage step error", in nm.
"""

from __future__ import annotations

import math
import re
from typing import Any

NOTHING = "—"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_UNITS = ("nm", "px", "counts", "electrons", "photons", "frames")
PER_CAMERA = re.compile(r"(plane|camera)_(\d+)_(.+)")
_WORDS = {"rmse": "RMSE", "sd": "standard deviation", "em": "EM", "psf": "PSF"}
_LABELS = {
    # calibrate
    "fewest_beads": "usable beads, camera with the fewest",
    "step_over_depth_of_focus": "z step / depth of focus",
    "depth_of_focus_over_waist": "depth of focus / w₀",
    "scan_margin": "scan beyond focus / depth of focus",
    "defocus_coverage": "measured part of the defocus range",
    "focus_step_nm": "focus displacement per slice",
    "gaussian_residual_in_focus": "residual of a Gaussian fit in focus",
    "width_residual_near_focus_nm": "residual of the widths near focus",
    "width_residual_all_nm": "residual of all widths",
    "width_residual_over_waist": "residual of the widths, relative to w₀",
    "relative_residual": "residual of the PSF model",
    "relative_residual_gaussian": "residual of the Gaussian model",
    "relative_residual_spline": "residual of the spline model",
    "waist_nm": "waist, w₀",
    "focus_depth_nm": "defocus that doubles the squared width, d",
    "asymmetry": "cubic coefficient A of the defocus curve",
    "quartic": "quartic coefficient B of the defocus curve",
    "bead_photons": "photon count of a bead in focus",
    "bead_motion_nm": "motion of individual beads",
    "motion_nm": "motion of individual beads",
    "stage_step_error_nm": "error of a stage step",
    "photobleaching": "photobleaching during the scan",
    "cameras_matched": "cameras with matched beads",
    "largest_depth_sd_nm": "standard deviation of a plane's depth",
    "largest_brightness_sd": "standard deviation of brightness",
    "smallest_plane_spacing_nm": "smallest distance between planes",
    "planes_in_order": "order of the foci (1: as listed, −1: reversed)",
    # register
    "matched": "matched beads",
    "residual_nm": "residual (rms)",
    "residual_px": "residual (rms)",
    "leave_one_out_nm": "leave-one-out error",
    "leave_one_out_px": "leave-one-out error",
    "scatter_nm": "scatter beyond the noise",
    "quadratic": "quadratic transform",
    "excluded": "excluded beads",
    "second_best_match": "second-best match / best match",
    "chance_matches": "matches expected by chance",
    "transform_sd_nm": "transform standard deviation",
    "corner_sd_nm": "transform standard deviation, corner",
    "covered_area_fraction": "field covered by matched beads",
    "common_field_fraction": "field that all cameras see",
    # cameras
    "gain_relative_sd": "relative standard deviation of the gain",
    "electrons_per_count": "conversion gain, electrons per count",
    "shot_noise_over_read_noise": "shot noise / read noise (variances)",
    "saturated_fraction": "saturated pixels",
    "linear_up_to_counts": "upper end of the linear range",
    "linear_fraction": "linear part of the intensity range",
    "curvature": "curvature of the photon transfer line",
    "flicker": "flicker of the lamp",
    "steady_fraction": "frame pairs of steady intensity",
    "stray_light_counts": "stray light in the dark movie",
    "dark_mismatch_counts": "distance of the dark movie from the line",
    "dark_zero_fraction": "zeros in the dark movie",
    "hot_pixel_fraction": "hot or noisy pixels",
    "offset_from_declared_counts": "difference from the declared offset",
    "gain_from_declared": "factor between measured and declared gain",
    "read_noise_from_declared": "factor between measured and declared read noise",
    "excess_noise_from_expected": "deviation from expected excess noise",
    # convert
    "noise_ratio": "noise variance / declared variance",
    "noise_factor_from_declared": "factor between measured and declared noise variance",
    "below_offset_counts": "background below the offset",
    "darkest_above_offset_counts": "darkest background above the offset",
    "duplicate_frames_fraction": "repeated frames",
    # synchronize
    "frames_out_of_step": "frames of which a camera has no image, or not certainly",
    "drift_rms_nm": "drift against the reference camera (rms)",
    "drift_sd_nm": "standard deviation of the drift",
    "dark_fraction": "part of the movie in which the camera is dark",
    "lag_frames": "lag behind most cameras (negative: it is early)",
    "out_of_step_frames": "out of step with most cameras",
    "slips": "frames lost or repeated, times",
    "lag_significance": "agreement with the other cameras, standard deviations of chance",
    # overlay
    "largest_offset_px": "largest distance of a camera's molecules from where its transform puts them",
    "molecules_in_focus": "isolated molecules in focus",
    "offset_x_nm": "distance of its molecules from where its transform puts them, along columns",
    "offset_y_nm": "the same along rows",
    # update-registration
    "displacement_px": "largest displacement in the field",
    "significant_displacement_px": "displacement beyond inter-camera drift and chance",
    "displacement_x_px": "displacement in the movie along x",
    "displacement_y_px": "displacement in the movie along y",
    "registration_significance": "agreement with the other cameras' images, standard deviations of chance",
    # correct-drift
    "sample_drift_corrected": "sample drift corrected (1: yes, 0: no)",
    "sample_drift_significance": "significance of the sample drift, standard deviations",
    "sample_drift_detectability": "significance of an artificial drift, standard deviations",
    "sample_drift_entropy_reduction": "decrease in entropy per blink by the correction, nat",
    "drift_sd_lateral_nm": "lateral standard deviation of the sample drift",
    "drift_sd_axial_nm": "axial standard deviation of the sample drift",
    "unconfirmed_drift": "unconfirmed sample drift, over its standard deviation",
    "halves_disagreement": "disagreement of two halves of the field, over its standard deviation",
    **{f"sample_drift_range_{axis}_nm": f"range of the sample drift in {axis}" for axis in "xyz"},
    **{f"sample_drift_rms_{axis}_nm": f"rms sample drift in {axis}" for axis in "xyz"},
    # link
    "localizations_linked": "localizations linked (1: yes, 0: no)",
    "linked_rows": "molecules (blinks) after linking",
    "on_time_frames": "mean length of a blink",
    "longest_blink_frames": "longest blink",
    "localizations_per_blink": "localizations per blink",
    "gap_fraction": "frames of the blinks without localization",
    "goes_on_probability": "probability to be localized in the next frame",
    "gap_probability": "probability to be localized again after a gap",
    "blink_ends_probability": "probability that the blink is over",
    "single_frame_fraction": "blinks without a second frame, beyond the law (false positives)",
    "expected_false_links": "expected links between different molecules",
    "expected_false_links_fraction": "expected fraction of links between different molecules",
    "blink_scatter": "scatter within blinks / stated standard deviation",
    **{f"blink_scatter_{axis}": f"scatter in {axis} within blinks / stated standard deviation" for axis in "xyz"},
    **{f"shared_{axis}_fraction": f"variance of {axis} shared by all frames of a blink" for axis in "xyz"},
    # filter
    "rows_read": "localizations before the filter",
    "rows_kept": "localizations after the filter",
    # measure-resolution
    "molecules": "blinks (rows of the linked table)",
    "localizations_per_molecule": "localizations per blink",
    "frc_nm": "resolution in x and y (FRC)",
    "frc_split_spread_nm": "spread of the FRC between random halves",
    "frc_time_nm": "FRC, first against second half of the movie",
    "frc_time_blocks_nm": "FRC, halves of alternating blocks of time",
    "frc_time_ratio": "FRC of both halves of the movie / of random halves",
    "frc_naive_nm": "FRC before linking, random halves (too small)",
    "frc_unlinked_nm": "FRC before linking, blinks kept whole",
    "naive_frc_ratio": "FRC before linking: random halves / blinks kept whole",
    "frc_xz_nm": "resolution in x and z (FRC)",
    "frc_yz_nm": "resolution in y and z (FRC)",
    "fsc_nm": "resolution in 3D (FSC)",
    "fsc_axial_nm": "resolution along z (FSC, 30° cone)",
    "nyquist_lateral_nm": "resolution by density in x and y (Nyquist)",
    "nyquist_3d_nm": "resolution by density in 3D (Nyquist)",
    "nyquist_ratio": "resolution by density / by precision",
    "structure_dimension": "dimension of the structure in x and y",
    "precision_fwhm_nm": "lateral precision of a blink, FWHM",
    "rows_are_blinks": "rows of the linked table are blinks (1: yes, 0: no)",
    "resolution_measured": "resolution measured (1: yes, 0: no)",
    **{
        name.format(direction): text.format(direction)
        for direction in ("lateral", "axial")
        for name, text in (
            ("nena_{}_nm", "{} precision from neighbouring frames (NeNA)"),
            ("stated_precision_{}_nm", "stated {} precision, median"),
            ("linked_precision_{}_nm", "stated {} precision after linking, median"),
            ("precision_ratio_{}", "measured / stated {} precision"),
        )
    },
    # evaluate
    "recall": "molecules that were found (recall)",
    "precision": "localizations that are true (precision)",
    "jaccard": "Jaccard index",
    "efficiency_lateral": "lateral efficiency",
    "efficiency_axial": "axial efficiency",
    "efficiency_3d": "3D efficiency",
    "bound_lateral_nm": "lateral Cramér–Rao bound",
    "bound_axial_nm": "axial Cramér–Rao bound",
    "rmse_lateral_over_bound": "lateral RMSE / Cramér–Rao bound",
    "rmse_axial_over_bound": "axial RMSE / Cramér–Rao bound",
    "empty_frames_fraction": "frames without localizations",
    "depth_ends_fraction": "localizations at the ends of the depth range",
    "partly_seen": "localizations that not all cameras see",
    "left_out_at_edges": "left out: depth unknown where cameras do not see",
    "edge_molecules": "molecules that all cameras but one see",
    "edge_recall": "their recall",
    "edge_lateral_over_bound": "their lateral RMSE / Cramér–Rao bound",
    "edge_axial_over_bound": "their axial RMSE / Cramér–Rao bound",
    **{f"edge_normalised_error_{axis}": f"their normalised error along {axis}" for axis in "xyz"},
    **{f"normalised_error_{axis}": f"normalised error along {axis}" for axis in "xyz"},
}
_BELOW_NOISE = {  # 0 where nothing beyond the noise of the measurement was found
    *("bead_motion_nm", "motion_nm", "lateral_stage_drift_nm", "stage_step_error_nm", "scatter_nm"),
    *("width_residual_near_focus_nm", "width_residual_over_waist", "gaussian_residual_in_focus", "photobleaching"),
    *("relative_residual", "relative_residual_spline", "relative_residual_gaussian", "significant_displacement_px"),
    *("flicker", "curvature", "stray_light_counts", "dark_mismatch_counts"),
}
_PERCENT = {
    "common_field_fraction",
    *(
        "recall",
        "edge_recall",
        "precision",
        "jaccard",
        "flicker",
        "photobleaching",
        "defocus_coverage",
        "gaussian_residual_in_focus",
    ),
    *(
        "width_residual_over_waist",
        "largest_brightness_sd",
        "gain_relative_sd",
        "curvature",
        "excess_noise_from_expected",
    ),
}


def label(name: str) -> str:
    """What a microscopist calls a quality value, without its unit."""
    if match := PER_CAMERA.fullmatch(name):
        return f"{match[1]} {match[2]}: {label(match[3])}"
    if name in _LABELS:
        return _LABELS[name]
    words = name.split("_")
    if len(words) > 1 and words[-1] in _UNITS:
        words.pop()
    return " ".join(_WORDS.get(word, word) for word in words)


def unit(name: str) -> str:
    """Unit in which a quality value is shown: the end of its key, or percent."""
    if match := PER_CAMERA.fullmatch(name):
        return unit(match[3])
    if name.removesuffix("_sd") in _PERCENT or name in _PERCENT or name.startswith(("efficiency", "relative_residual")):
        return "%"
    words = name.split("_")
    if "fraction" in words:
        return "%"
    return words[-1] if words[-1] in _UNITS and len(words) > 1 and name != "bead_photons" else ""


def quantity(name: str, value: Any, deviation: float | None = None) -> str:
    """A quality value with its unit, and with its standard deviation if that is known."""
    if value is None:
        return "not measured"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == 0 and (match[3] if (match := PER_CAMERA.fullmatch(name)) else name) in _BELOW_NOISE:
        return "below noise"
    if name.endswith(("mirrored", "quadratic")):
        return "yes" if value else "no"
    shown, factor = unit(name), 100 if unit(name) == "%" and not name.startswith("efficiency") else 1
    value *= factor
    if deviation and math.isfinite(deviation) and math.isfinite(value):
        return f"{_with_deviation(value, factor * deviation)} {shown}".strip()
    text = f"{value:,.0f}".replace("-", "−") if math.isfinite(value) and value == round(value) else number(value)
    if text == "1":
        shown = shown.removesuffix("s")
    return f"{text} {shown}".strip()


def _with_deviation(value: float, deviation: float) -> str:
    """Two digits of the standard deviation, and the value to the same place: "133.500 ± 0.073"."""
    decimals = min(max(1 - math.floor(math.log10(abs(deviation))), 0), 6)
    value = round(value, decimals) + 0.0  # no minus before zero
    return f"{value:,.{decimals}f} ± {abs(deviation):,.{decimals}f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, thousands with commas, a true minus sign; "—" for NaN."""
    if not math.isfinite(value):
        return NOTHING
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{float(mantissa):g} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "−")
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", "−")
    decimals = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{decimals}f}".replace("-", "−")
