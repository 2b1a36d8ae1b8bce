"""Files of others and ours: camera files, localization tables, exports, OME-TIFF."""
