"""planeloc: multi-plane single-molecule localization, from raw camera movies to a 3D super-resolution image."""

__version__ = "0.1.0"
