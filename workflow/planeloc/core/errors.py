"""The one exception that users are meant to see."""


class PlanelocError(Exception):
    """Something the user can correct.

    The message is one line: which file or setting, what is wrong with it, what to do. The command line prints it
    without a traceback and exits with code 1; every other exception is a bug of ours and keeps its traceback.
    """


class NotEnoughMemoryError(PlanelocError, MemoryError):
    """Memory did not suffice for the smallest piece of work; a smaller task may do with less."""
