"""Files of cameras, one module per format; `planeloc.io.camera_formats` finds the one that fits a file."""
