"""`planeloc paper`."""

from planeloc.paper.cli import paper as command

__all__ = ["command"]
