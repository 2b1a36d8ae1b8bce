"""The one exception of the checks."""


class ConfigurationError(Exception):
    """A mistake in a file that the user wrote. One line: file and line, what is wrong, what to do."""
