"""Correct the sample drift of a Picasso table by AIM, in an interpreter whose environment has `picassosr`.

    python picasso_drift.py TABLE.hdf5 CORRECTED.hdf5

writes the corrected table, and prints the drift at every frame (x and y in camera pixels, z in nm) as JSON.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    from picasso import aim, io

    locs, info = io.load_locs(sys.argv[1])
    start = time.process_time()
    corrected, new_info, drift = aim.aim(locs, info)
    spent = time.process_time() - start
    io.save_locs(sys.argv[2], corrected, new_info)
    columns = {axis: [float(value) for value in drift[axis]] for axis in ("x", "y", "z") if axis in _names(drift)}
    print(json.dumps({"cpu_s": spent, **columns}))


def _names(drift) -> list[str]:
    return list(getattr(drift, "columns", None) if hasattr(drift, "columns") else drift.dtype.names)


if __name__ == "__main__":
    main()
