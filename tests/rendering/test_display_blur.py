"""Pictures are blurred just so much that molecules are seen on a screen."""

import numpy as np
import pytest

from planeloc.rendering.colours import ColourMixture
from planeloc.rendering.display_blur import blur_note, display_blur_nm
from planeloc.rendering.settings import GaussianWidths

WIDTHS = GaussianWidths()


def rows(sd_nm: float) -> dict[str, np.ndarray]:
    return {"x_sd": np.full(100, sd_nm)}


@pytest.mark.parametrize(("side_nm", "seen_nm"), [(12_000, 20), (60_000, 40), (200_000, 40)])
def test_a_typical_molecule_is_the_600th_part_of_the_picture_or_40_nm(side_nm, seen_nm):
    blur = display_blur_nm(rows(8.0), WIDTHS, side_nm)
    assert np.hypot(blur, 8.0) == pytest.approx(seen_nm)
    assert f"{blur:.0f} nm" in blur_note(blur)


@pytest.mark.parametrize(("side_nm", "sd_nm"), [(3_000, 8.0), (12_000, 25.0), (12_000, 19.0)])
def test_what_is_wide_enough_is_drawn_as_it_is(side_nm, sd_nm):
    assert display_blur_nm(rows(sd_nm), WIDTHS, side_nm) == 0 and not blur_note(0.0)


def test_unknown_precisions_and_empty_tables_have_a_picture():
    unknown = display_blur_nm(rows(np.nan), WIDTHS, 24_000)
    assert np.hypot(unknown, WIDTHS.sigma_nm) == pytest.approx(40)
    assert display_blur_nm({"x_sd": np.empty(0)}, WIDTHS, 24_000) == 0


def test_blur_spreads_density_and_colour_alike():
    mixture = ColourMixture((41, 61))
    image = np.zeros((41, 61), np.float32)
    image[20, 30] = 5.0
    mixture.add(image, np.array([1.0, 0.5, 0.0], np.float32))
    mixture.blur(3.0, 1.5)
    assert mixture.amount.sum() == pytest.approx(5.0, rel=1e-4)
    across, down = (mixture.amount.sum(axis=axis) for axis in (0, 1))
    for profile, centre, sigma in ((across, 30, 3.0), (down, 20, 1.5)):
        variance = (profile * (np.arange(len(profile)) - centre) ** 2).sum() / profile.sum()
        assert np.sqrt(variance) == pytest.approx(sigma, rel=0.05)
    picture = mixture.picture(np.minimum(mixture.amount / mixture.amount.max(), 1))
    assert picture[20, 30].tolist() == [255, 128, 0]
