"""planeloc: multi-plane single-molecule localization, from raw camera movies to a 3D super-resolution image."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library is quiet; see `planeloc.core.messages`
