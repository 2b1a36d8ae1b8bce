"""Scale bars are round."""

import pytest

from planeloc.rendering import figure as figures


@pytest.mark.parametrize(("about", "nice"), [(2048, 2000), (1999, 1000), (5000, 5000), (99, 50), (100, 100)])
def test_scale_bars_are_round(about, nice):
    assert figures.nice_length(about) == nice
