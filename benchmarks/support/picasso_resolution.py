"""Picasso's FRC and NeNA of a Picasso table, as JSON; run by an interpreter whose environment has `picassosr`."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    from picasso import io, lib, postprocess

    locs, info = io.load_locs(sys.argv[1])
    pixel = lib.get_from_metadata(info, "Pixelsize")
    start = time.process_time()
    nena = postprocess.nena(locs, info)[1] * pixel
    field = ((0, 0), (lib.get_from_metadata(info, "Height"), lib.get_from_metadata(info, "Width")))
    frc = postprocess.frc(locs, info, field)["resolution"]
    print(json.dumps({"nena_nm": float(nena), "frc_nm": frc and float(frc), "cpu_s": time.process_time() - start}))


if __name__ == "__main__":
    main()
