"""Settings of the `convert` stage."""

from __future__ import annotations

from dataclasses import dataclass

from planeloc.core.settings import setting


@dataclass(frozen=True)
class ConvertSettings:
    """How the store is laid out, and what is warned of; the counts in it are the same whatever is chosen here."""

    chunk_frames: int = setting(0, "Frames per chunk of the store; 0: automatic, at most 100 and 16 MiB.", minimum=0)
    compression_level: int = setting(
        1, "Level of the zstd compression; higher is slower, hardly smaller.", minimum=1, maximum=9
    )
    threads: int = setting(2, "Chunks compressed at the same time; each needs the memory of about four.", minimum=1)
    noise_warn: float = setting(
        1.3, "Factor between the variance of the movie's noise and the declared one that warns.", minimum=1
    )
    below_offset_warn_counts: float = setting(
        1.0, "Background below the declared offset that warns, counts.", minimum=0
    )
    saturated_warn: float = setting(0.0001, "Share of saturated pixels that warns.", minimum=0, maximum=1)
    duplicates_warn: float = setting(0.01, "Share of frames like the one before that warns.", minimum=0, maximum=1)
