"""Divisions of a table into two halves: at random, by blocks of time, first and second half of the movie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SEED = 0


def random_halves(rows: int, divisions: int) -> NDArray[np.bool_]:
    """(divisions, rows) which rows are in the first half, by the toss of a coin."""
    return np.random.default_rng(_SEED).random((divisions, rows), dtype=np.float32) < 0.5


def time_block_halves(frame: NDArray[np.int64], blocks: int, divisions: int) -> NDArray[np.bool_]:
    """(divisions, rows) which rows are in the first half, where blocks of neighbouring frames stay together.

    Blocks hold about equal numbers of rows. In the first division every other block is in the first half, in the others
    half of the blocks at random. A blink is in one half, unless it goes over the end of a block.
    """
    edges = np.quantile(frame, np.arange(1, blocks) / blocks, method="higher")
    block = np.searchsorted(edges, frame, side="right")
    alternate = np.arange(blocks) % 2 == 0
    random = np.random.default_rng(_SEED)
    return np.array([(alternate if n == 0 else random.permutation(alternate))[block] for n in range(divisions)])


def first_and_second(frame: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(rows,) which rows are in the first half of the movie, with as many rows in the second."""
    order = np.argsort(frame, kind="stable")
    first = np.zeros(len(frame), dtype=bool)
    first[order[: len(frame) // 2]] = True
    return first
