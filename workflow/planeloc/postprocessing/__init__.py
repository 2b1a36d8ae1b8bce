"""From a table of localizations to a better one: filters."""
