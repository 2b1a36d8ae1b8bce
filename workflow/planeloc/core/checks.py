"""Quality checks: values against thresholds, with a verdict (pass, warn or fail) and advice.

The JSON file: {"values": {name: number}, "checks": [{"name", "value", "threshold", "verdict", "advice", "side"}]}.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planeloc.core import marks
from planeloc.core.errors import PlanelocError
from planeloc.core.files import write_json
from planeloc.core.quality_labels import label, quantity

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One value against its threshold: the crossed one, or the one for a warning if none was crossed."""

    name: str
    value: float | None  # None: read from a file, where it was not finite
    threshold: float | None
    verdict: str  # pass, warn or fail
    advice: str
    side: str = ""  # of the threshold on which values pass, ≤ or ≥; empty in older files

    @property
    def text(self) -> str:
        """The value beside its threshold: "transform standard deviation 7.2 nm (threshold 5 nm)"."""
        value, threshold = (quantity(self.name, number) for number in (self.value, self.threshold))
        return f"{label(self.name)} {value} (threshold {threshold})"


def check_at_most(name: str, value: float, advice: str, *, warn: float, fail: float = math.inf) -> Check:
    """Check a value that should be small; NaN fails."""
    if not value <= fail:
        return Check(name, value, fail, "fail", advice, "≤")
    return Check(name, value, warn, "warn" if value > warn else "pass", advice, "≤")


def check_at_least(name: str, value: float, advice: str, *, warn: float, fail: float = -math.inf) -> Check:
    """Check a value that should be large; NaN fails."""
    if not value >= fail:
        return Check(name, value, fail, "fail", advice, "≥")
    return Check(name, value, warn, "warn" if value < warn else "pass", advice, "≥")


def of_failure(path: Path) -> Path:
    """Path of an output of a failed run: psf.png → psf.failed.png."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")


def stop_on_failure(
    where: str | Path,
    values: Mapping[str, float],
    checks: Sequence[Check],
    figure: Path,
    quality: Path,
    draw: Callable[[Path], None],
) -> None:
    """Raise `PlanelocError` with all failed checks and their advice in one line, if there are any.

    Parameters
    ----------
    where : file that the error names first.
    figure, quality : outputs; those of a failure are written beside them, those of an earlier failure are removed.
    draw : writes the figure to a path.
    """
    shown, numbers = of_failure(figure), of_failure(quality)
    failed = [check for check in checks if check.verdict == "fail"]
    if not failed:
        marks.remove_own(shown, marks.ANY_FIGURE)
        marks.remove_own(numbers, marks.QUALITY)
        return
    draw(shown)
    write_quality(numbers, values, checks)
    why = "; ".join(f"{check.text}: {check.advice}" for check in failed)
    raise PlanelocError(f"{where}: {why}; see {shown}")


def print_warnings(checks: Sequence[Check]) -> None:
    """Log a warning with its advice for every check that warns."""
    for check in checks:
        if check.verdict == "warn":
            _LOG.warning(f"{check.text}: {check.advice}")


def write_quality(path: str | Path, values: Mapping[str, float], checks: Sequence[Check]) -> None:
    """Write the quality file; NaN and infinity become null."""
    write_json(path, quality_dict(values, checks), marks.QUALITY)


def quality_dict(values: Mapping[str, float], checks: Sequence[Check]) -> dict[str, Any]:
    """The content of the quality file."""
    return {
        "values": {name: _number(value) for name, value in values.items()},
        "checks": [{k: _number(v) if isinstance(v, float) else v for k, v in asdict(c).items()} for c in checks],
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
