"""The transform from the reference camera to every other camera."""
