"""Settings are strict, and mistakes in them are named in one line."""

from dataclasses import dataclass

import pytest

from planeloc.core.errors import PlanelocError
from planeloc.core.settings import from_mapping, setting, threshold


@dataclass(frozen=True)
class Example:
    size: int = setting(3, "Size.", minimum=1, maximum=9)
    share: float = setting(0.5, "Share.")
    on: bool = setting(True, "On.")
    mode: str = setting("a", "Mode.", choices=("a", "b"), was=("way", "manner"))
    drift: float = setting(-1.0, "Drift.", minimum=0, automatic=-1)


def test_whole_numbers_may_be_written_with_an_exponent():
    assert from_mapping(Example, {"size": 2.0}, "x").size == 2
    assert isinstance(from_mapping(Example, {"size": 2.0}, "x").size, int)


def test_a_threshold_says_what_happens_beyond_it():
    about = threshold(0.5, "stop below", "share of the field", unit="%").metadata
    assert about["help"] == "Stop below this share of the field." and about["group"] == "thresholds"


def test_values_are_kept():
    assert from_mapping(Example, {"size": 4, "share": 1, "on": False, "mode": "b"}, "x") == Example(4, 1, False, "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"siez": 4}, "unknown key 'siez'; known are drift, mode, on, share, size"),
        ({"manner": "a"}, "manner is now mode; rename it"),
        ({"size": 0}, "below its minimum of 1"),
        ({"size": 10}, "above its maximum of 9"),
        ({"size": 2.5}, "not a whole number"),
        ({"share": "1e-3"}, "not a number"),
        ({"share": float("nan")}, "not a number"),
        ({"share": float("inf")}, "not a number"),
        ({"on": "yes"}, "not true or false"),
        ({"mode": "c"}, "not one of a, b"),
        ({"drift": -0.5}, r"below its minimum of 0 \(or give -1\)"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(PlanelocError, match=message) as error:
        from_mapping(Example, values, "file.yaml: section")
    assert str(error.value).startswith("file.yaml: section: ") and "\n" not in str(error.value)
