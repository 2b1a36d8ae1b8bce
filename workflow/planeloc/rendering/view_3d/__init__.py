"""From the table to a page on which a browser shows the localizations in 3D."""
