"""Estimate the sample drift of a table by COMET, in an interpreter whose environment has `comet-smlm`.

    python comet_drift.py POINTS.npy DRIFT.npy FRAMES LARGEST_DRIFT_NM

POINTS.npy has columns x, y, z (nm) and frame; DRIFT.npy gets the drift at every frame, (frames, 3) nm. Windows have 60
frames and the last Gaussian is 10 nm wide, as in the package's own example. Prints the CPU time as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    from comet import comet_run_kd

    points, output, frames, largest = np.load(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    start = time.process_time()
    drift = comet_run_kd(
        points,
        segmentation_mode=2,
        segmentation_var=60,
        max_drift_nm=largest,
        target_sigma_nm=10,
        min_max_frames=(0, frames - 1),
        mode="cpu",
    )
    spent = time.process_time() - start
    np.save(output, drift[:frames, :3])
    print(json.dumps({"cpu_s": spent}))


if __name__ == "__main__":
    main()
