"""Files: camera formats, localization tables, exporters, OME-TIFF."""
