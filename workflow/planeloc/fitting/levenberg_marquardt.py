"""Levenberg–Marquardt iterations of many independent fits at once: each has its own damping.

`planeloc.fitting.multi_emitter` has a loop of its own: there, fits that share inter-camera drift accept or reject
their steps together, and molecules are held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

HOPELESS = 1e8  # damping beyond which no step improves a fit


class Problem(Protocol):
    """Fits of n rows with p parameters each."""

    def rows(self, chosen: Tensor) -> Self:
        """Return the problem of some of the rows."""

    def cost(self, parameters: Tensor) -> Tensor:
        """Return the cost (n,) of parameters (n, p)."""

    def step(self, parameters: Tensor, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parameters (n, p) after a damped step, the cost (n,) before it, and whether it is tiny (n,)."""


@dataclass(frozen=True)
class Damping:
    """How damping starts and follows the success of steps."""

    first: float
    decrease: float
    increase: float
    lowest: float
    highest: float = float("inf")
    tolerance: float = 0.0  # by which the cost of an accepted step may rise
    must_improve: bool = True  # a tiny step ends a fit only if it was accepted

    def after(self, damping: Tensor, better: Tensor) -> Tensor:
        """Return the damping (n,) after steps of which some were better."""
        changed = torch.where(better, damping / self.decrease, damping * self.increase)
        return changed.clamp(self.lowest, self.highest)


def minimise(problem: Problem, start: Tensor, schedule: Damping, iterations: int) -> tuple[Tensor, Tensor]:
    """Minimise the cost of every row, from `start`; rows leave the batch when they have converged.

    Returns the parameters (n, p), and whether each row converged (n,).

    Parameters
    ----------
    start : (n, p) parameters.
    iterations : largest number of steps.
    """
    parameters = start.clone()
    converged = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    damping = torch.full_like(start[:, 0], schedule.first)
    active = torch.arange(len(start), device=start.device)
    for _ in range(iterations):
        if not len(active):
            break
        part, now = problem.rows(active), parameters[active]
        proposed, cost, tiny = part.step(now, damping[active])
        better = part.cost(proposed) <= cost + schedule.tolerance
        parameters[active] = torch.where(better[:, None], proposed, now)
        damping[active] = schedule.after(damping[active], better)
        done = (tiny & better if schedule.must_improve else tiny) | (damping[active] > HOPELESS)
        converged[active[done]] = True
        active = active[~done]
    return parameters, converged
