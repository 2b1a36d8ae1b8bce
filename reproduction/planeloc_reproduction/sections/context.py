"""What every section is made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from planeloc_reproduction.measures import Errors, error_summary
from planeloc_reproduction.names import NETWORKS
from planeloc_reproduction.results import Results
from planeloc_reproduction.wording import training_mark

DIRECTIONS = ("lateral", "axial")
_CASE = "unknown_drift"


@dataclass(frozen=True)
class Context:
    """The results, and the folder for the figures."""

    results: Results
    figures: Path

    @cached_property
    def errors(self) -> dict[str, dict[str, Errors]]:
        """Error measures by data and estimator, worked out once."""
        return {
            data: {
                name: error_summary(one.truth_nm, one.found_nm, one.truth_voxel, one.found_voxel, one.voxel_nm)
                for name, one in estimators.items()
            }
            for data, estimators in self.results.one_molecule.items()
        }

    def mark(self, estimators: Iterable[str]) -> str:
        """How far the networks among these estimators were trained."""
        return training_mark(self.results.training, [name for name in estimators if name in NETWORKS])

    def limit(self, direction: str) -> float | None:
        """Mean limit (`lateral` or `axial`, nm) over the paper's scene, drift unknown, where it was worked out."""
        bound = self.results.bound
        return None if bound is None else bound.mean[_CASE][DIRECTIONS.index(direction)]

    def root_mean_square_limit(self, direction: str) -> float | None:
        """The same limit on the root mean square of the error."""
        bound = self.results.bound
        return None if bound is None else bound.root_mean_square[_CASE][DIRECTIONS.index(direction)]
