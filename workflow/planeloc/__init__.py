"""planeloc: multi-plane single-molecule localization, from raw camera movies to a 3D super-resolution image.

The names in `__all__` are the public interface; each is imported when it is first used, since PyTorch takes seconds.
"""

import logging
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Camera": "cameras.camera",
    "Emitters": "psf",
    "GaussianPSF": "psf",
    "LocalizeSettings": "localization.settings",
    "Microscope": "cameras.microscope",
    "Movie": "movie.store",
    "PSF": "psf",
    "PlanelocError": "core.errors",
    "Registration": "transforms.camera_transform",
    "SplinePSF": "psf",
    "TrainSettings": "training.settings",
    "load_network": "networks.weight_files",
    "localize": "localization.localize",
    "read_localizations": "io.localization_table",
    "read_microscope": "cameras.microscope",
    "read_psf": "psf",
    "train": "training.train",
}
_NAMES = {"read_localizations": "read"}  # where the module's own name says less
__all__ = ["__version__", *_HOMES]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library is quiet; see `planeloc.core.messages`


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
