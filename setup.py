"""Build of the compiled code: one library per instruction set; `planeloc.fitting.compiled_library` chooses."""

import hashlib
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("workflow/planeloc/fitting/compiled")
SOURCES = sorted(FOLDER.glob("*.h")) + sorted(FOLDER.glob("*.cpp"))
# Sums may be reordered into vectors; infinities and NaN keep their meaning.
FLAGS = ["-std=c++17", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
INSTRUCTIONS = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTIONS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTIONS["avx512"] = ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"]


def library(name: str, flags: list[str]) -> Extension:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
    return Extension(
        f"planeloc.fitting._frame_fit_{name}",
        sources=[str(path) for path in SOURCES if path.suffix == ".cpp"],
        depends=[str(path) for path in SOURCES],
        define_macros=[("PLANELOC_SOURCES", f'"{digest}"')],
        extra_compile_args=["/std:c++17", "/O2"] if sys.platform == "win32" else FLAGS + flags,
        language="c++",
        py_limited_api=True,
        optional=True,  # without a compiler, the fit runs in PyTorch
    )


setup(
    ext_modules=[library(name, flags) for name, flags in INSTRUCTIONS.items()],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
