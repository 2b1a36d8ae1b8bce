"""The verdict on a learning curve."""

import pytest

from planeloc.training.loop import verdict


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([10, 5, 4.5, 3], "more samples would help"),
        ([10, 5, 5, 4.99], "help little"),
        ([10, 12, 13, 14], "help little"),
        ([10, 9], "too few"),
    ],
)
def test_verdict_on_the_learning_curve(losses, expected):
    history = [{"samples": 100.0 * (i + 1), "validation_loss": loss} for i, loss in enumerate(losses)]
    line = verdict(history)
    assert expected in line and "\n" not in line
    assert ("little" in line) == ("little" in expected)
