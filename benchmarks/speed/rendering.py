"""How much faster is drawing in blocks than one localization after the other? Both are timed in the same run.

python -m benchmarks.speed.rendering [localizations]
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from benchmarks.support.record import Record, add_json_option
from benchmarks.tables import Column
from scipy.special import erf

from planeloc.rendering.gaussians import draw_gaussians

SIZE_PX = 2048
NAIVE_ROWS = 20_000  # the naive loop is timed on a part


def draw_one_by_one(image, x_px, y_px, sigma_x_px, sigma_y_px):
    """The obvious way: a Python loop that adds one patch at a time."""
    for x, y, sigma_x, sigma_y in zip(x_px, y_px, sigma_x_px, sigma_y_px, strict=True):
        reach = math.ceil(4 * max(sigma_x, sigma_y))
        shares, corner = [], []
        for position, sigma in ((x, sigma_x), (y, sigma_y)):
            first = math.floor(position) - reach
            share = np.diff(erf((np.arange(first, first + 2 * reach + 2) - position) / (math.sqrt(2) * sigma)))
            shares.append(share / share.sum())
            corner.append(first)
        left, top = corner
        width = 2 * reach + 1
        columns = slice(max(left, 0), min(left + width, image.shape[1]))
        rows = slice(max(top, 0), min(top + width, image.shape[0]))
        x_share = shares[0][columns.start - left : columns.stop - left]
        y_share = shares[1][rows.start - top : rows.stop - top]
        image[rows, columns] += y_share[:, None] * x_share


def seconds(draw, arguments) -> tuple[float, np.ndarray]:
    image = np.zeros((SIZE_PX, SIZE_PX), dtype=np.float32)
    start = time.perf_counter()
    draw(image, *arguments)
    return time.perf_counter() - start, image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("localizations", type=int, nargs="?", default=500_000)
    add_json_option(parser)
    options = parser.parse_args()
    rows = options.localizations
    random = np.random.default_rng(0)
    position = random.uniform(0, SIZE_PX, (2, rows))
    sigma = random.uniform(0.8, 2.5, (2, rows))
    part = (*position[:, :NAIVE_ROWS], *sigma[:, :NAIVE_ROWS])
    naive, expected = seconds(draw_one_by_one, part)
    _, image = seconds(draw_gaussians, part)
    difference = float(np.abs(image - expected).max())
    blocks, _ = seconds(draw_gaussians, (*position, *sigma))
    ratio = (naive / len(part[0])) / (blocks / rows)
    record = Record("rendering", options.json)
    record.add(method="one by one", localizations_per_s=len(part[0]) / naive, ratio=1.0, largest_difference=0.0)
    record.add(method="in blocks", localizations_per_s=rows / blocks, ratio=ratio, largest_difference=difference)
    record.show(
        Column("method", "method"),
        Column("localizations/s", "localizations_per_s", ",.0f"),
        Column("speed over one by one", "ratio", ".1f"),
        Column("largest difference of a pixel, localizations", "largest_difference", ".1e"),
    )


if __name__ == "__main__":
    main()
