"""Settings of the `convert` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting, threshold


@dataclass(frozen=True)
class ConvertSettings:
    """How the movie is stored, and which warnings are given; none of these settings changes the stored counts."""

    chunk_frames: int = setting(
        0, "Frames per chunk of the movie. 0: automatic, at most 100 and 16 MiB.", minimum=0, advanced=True
    )
    compression_level: int = setting(
        1,
        "Level of the zstd compression; higher levels are slower and save little.",
        minimum=1,
        maximum=9,
        advanced=True,
    )
    threads: int = setting(
        2,
        "Number of chunks compressed in parallel; each needs the memory of about four chunks.",
        minimum=1,
        command_line_only=True,
    )
    unequal_lengths: str = setting(
        "stop",
        "Cameras of different length. stop: refuse them; fill: the movie is as long as the longest, and what another "
        "camera lacks is left out.",
        choices=("stop", "fill"),
        advanced=True,
    )
    noise_warn: float = threshold(
        1.3, "warn above", "factor between the movie's noise variance and the declared one", minimum=1
    )
    below_offset_warn_counts: float = threshold(
        1.0, "warn above", "distance of the background below the declared offset", unit="counts", minimum=0
    )
    saturated_warn: float = threshold(0.0001, "warn above", "fraction of saturated pixels", minimum=0, maximum=1)
    duplicates_warn: float = threshold(
        0.01, "warn above", "fraction of frames that repeat the previous one", minimum=0, maximum=1
    )
