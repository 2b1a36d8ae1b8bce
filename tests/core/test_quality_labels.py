"""Labels and units of quality values, wherever they are shown."""

from __future__ import annotations

import math

import pytest

from planeloc.core.checks import check_at_most
from planeloc.core.quality_labels import label, number, quantity


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("residual_nm", 0.8988, "0.899 nm"),
        ("beads", 9.0, "9"),
        ("bead_photons", 4231.4, "4,231"),
        ("saturated_fraction", 0.0001, "0.0100 %"),
        ("efficiency_3d", 81.49, "81.5 %"),
        ("plane_1_chance_matches", 4.6e-28, "4.6 × 10⁻²⁸"),
        ("read_noise_electrons", 3.0, "3 electrons"),
        ("camera", "left", "left"),
        ("plane_1_quadratic", 1.0, "yes"),
        ("bead_motion_nm", 0.0, "below noise"),
        ("plane_2_motion_nm", 0.0, "below noise"),
        ("camera_1_lag_frames", 0.0, "0 frames"),
        ("saturated_fraction", 0.0, "0 %"),
    ],
)
def test_a_quantity_is_a_number_with_its_unit(name: str, value: object, text: str) -> None:
    assert quantity(name, value) == text


def test_labels_are_the_words_of_the_field() -> None:
    assert label("camera_0_saturated_fraction") == "camera 0: saturated pixels"
    assert label("normalised_error_x") == "normalised error along x"
    assert label("rmse_lateral_nm") == "RMSE lateral"
    assert label("photobleaching") == "photobleaching during the scan"
    assert label("plane_2_transform_sd_nm") == "plane 2: transform standard deviation"
    assert label("stage_step_error_nm") == "error of a stage step"
    assert label("a_value_of_another_package_nm") == "a value of another package"


def test_a_standard_deviation_has_the_unit_of_its_value() -> None:
    assert quantity("waist_nm", 133.5, 0.0727) == "133.500 ± 0.073 nm"
    assert quantity("photobleaching", 0.05, 0.037) == "5.0 ± 3.7 %"
    assert quantity("asymmetry", -3.7e-17, 3.5e-4) == "0.00000 ± 0.00035"
    assert quantity("photons", 4231.4, 120.0) == "4,231 ± 120"
    assert quantity("depth_nm", -601.2, math.nan) == "−601 nm"


def test_numbers() -> None:
    assert (number(float("nan")), number(12345.0)) == ("—", "12,345")


def test_a_check_says_what_it_is_with_its_unit() -> None:
    check = check_at_most("transform_sd_nm", 7.25, "image more beads", warn=5.0)
    assert check.text == "transform standard deviation 7.25 nm (threshold 5 nm)"
    assert check_at_most("saturated_fraction", 0.2, "", warn=0.01).text == "saturated pixels 20 % (threshold 1 %)"
