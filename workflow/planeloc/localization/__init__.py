"""From the frames of a movie to the table of localizations."""
