"""Conditions such as ``photons > 800 and z_sd < 40``: parsed, checked, and applied to columns.

Python's own parser reads the words; what it returns is walked by this module and never compiled or run. Columns,
numbers, ``+ - * /``, ``abs()``, comparisons (also chained), ``and``, ``or``, ``not`` and parentheses are known, and all
else is an error. A comparison with an unknown value (NaN) is neither true nor false (Kleene 1938), and a row passes
unless the whole condition is false for it: what is unknown removes nothing.

This file needs nothing but Python, so that the workflow can run it before the first job; columns may be arrays of NumPy
or numbers.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

QUANTITIES = {
    "frame": "",
    "x": "nm",
    "y": "nm",
    "z": "nm",
    "photons": "photons",
    "background": "photons",
    "probability": "",
    "x_sd": "nm",
    "y_sd": "nm",
    "z_sd": "nm",
    "lateral_sd": "nm",
    "goodness_of_fit": "",
    "planes_seen": "",
    "local_density": "1/µm²",
    "edge_distance": "nm",
    "last_frame": "",
    "frames": "",
    "group": "",
}
"""What a condition can name → its unit: the columns of a table, and what is derived from them."""

_LONGEST = 1000  # characters
_DEEPEST = 50
_LARGEST = 1e300
_COMPARISONS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_INSTEAD = {ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not"}
_MISWRITTEN = {"=>": ">=", "=<": "<=", "(?<![<>=!])=(?!=)": "==", "&&": "and", r"\|\|": "or", "!(?!=)": "not"}
_MISWRITTEN |= {rf"\b{word.upper()}\b": word for word in ("and", "or", "not")}
_KNOWN = "known are columns, numbers, + - * /, abs(), comparisons, and, or, not and parentheses"


class ExpressionError(ValueError):
    """A mistake in a condition; one line with its place."""


@dataclass(frozen=True)
class Truth:
    """What is known of a condition, row by row."""

    true: Any
    false: Any


class Expression:
    """A checked condition on columns.

    Attributes
    ----------
    text : as it was given.
    names : the columns that it names.
    """

    def __init__(self, text: str) -> None:
        """Parse and check.

        Raises
        ------
        ExpressionError : anything but a condition on known columns.
        """
        self.text = text
        plain = text.strip()
        self._tree = _parsed(plain)
        _check(self._tree, plain, condition=True, depth=0)
        self.names = frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)) - {"abs"}

    def fails(self, columns: Mapping[str, Any]) -> Any:
        """Rows for which the condition is false; unknown ones (NaN) do not fail by what is unknown."""
        return _truth(self._tree, columns).false

    def parts(self) -> list[Expression]:
        """The conditions that `and` joins, outside of parentheses; a row fails the whole if it fails one of them."""
        if not (isinstance(self._tree, ast.BoolOp) and isinstance(self._tree.op, ast.And)):
            return [self]
        texts = (ast.get_source_segment(self.text.strip(), node) or ast.unparse(node) for node in self._tree.values)
        return [Expression(text) for text in texts]

    def limits(self) -> Iterator[tuple[str, float]]:
        """Columns that are compared with a number, and that number, wherever it stands."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                for one, other in (*pairwise(sides), *pairwise(sides[::-1])):
                    if isinstance(one, ast.Name) and (value := _constant(other)) is not None:
                        yield one.id, value


def _parsed(text: str) -> ast.expr:
    if not text:
        raise ExpressionError("the condition is empty; write for example photons > 800 and z_sd < 40")
    if len(text) > _LONGEST:
        raise ExpressionError(f"the condition has {len(text)} characters; at most {_LONGEST} are read")
    strange = next((place for place, letter in enumerate(text) if not _plain(letter)), None)
    if strange is not None:
        raise ExpressionError(f"character {strange + 1}: {text[strange]!r} means nothing here; {_KNOWN}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of "800and", which is read as it was meant
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(_syntax(text, error.offset or len(text) + 1)) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("the condition is nested too deeply; write it shorter") from None


def _plain(letter: str) -> bool:
    return letter.isascii() and letter.isprintable() and letter != "#"  # which would begin a comment


def _syntax(text: str, place: int) -> str:
    """The place of something that Python does not parse, and what to do about it."""
    for wrong, right in _MISWRITTEN.items():
        if found := re.search(wrong, text):
            return f"character {found.start() + 1}: write {right} instead of {found.group()}"
    if text.count("(") != text.count(")"):
        return f"character {place}: a parenthesis is missing or one too many"
    rest = text[place - 1 :].split()
    what = f"{_shortened(rest[0])} is not expected here" if rest else "the condition ends too early"
    return f"character {place}: {what}; {_KNOWN}"


def _check(node: ast.expr, text: str, condition: bool, depth: int) -> None:
    """Raise `ExpressionError` unless a node is a condition, or else a number, made of what is known."""
    if depth > _DEEPEST:
        raise _error(node, "the condition is nested too deeply; write it shorter")
    if _is_condition(node) != condition and _is_known(node):
        expected = "a comparison such as photons > 800" if condition else "a number or a column"
        raise _error(node, f"{_source(node, text)} stands where {expected} is expected")
    match node:
        case ast.BoolOp(values=values):
            parts, of_conditions = values, True
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            parts, of_conditions = [operand], True
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARISONS for op in ops):
            parts, of_conditions = [left, *comparators], False
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            parts, of_conditions = [left, right], False
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            parts, of_conditions = [operand], False
        case ast.Call(func=ast.Name(id="abs"), args=[argument], keywords=[]) if not isinstance(argument, ast.Starred):
            parts, of_conditions = [argument], False
        case ast.Name(id=name) if name in QUANTITIES:
            return
        case ast.Constant(value=value) if type(value) in (int, float) and value <= _LARGEST:
            return
        case _:
            raise _error(node, _unknown(node, text))
    for part in parts:
        _check(part, text, of_conditions, depth + 1)


def _is_condition(node: ast.expr) -> bool:
    return isinstance(node, ast.BoolOp | ast.Compare) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _is_known(node: ast.expr) -> bool:
    """Whether a node is of a kind that may stand somewhere; others are named for what they are."""
    if isinstance(node, ast.Name):
        return node.id in QUANTITIES
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.BinOp):
        return type(node.op) in _ARITHMETIC
    if isinstance(node, ast.UnaryOp):
        return not isinstance(node.op, ast.Invert)
    return isinstance(node, ast.BoolOp | ast.Compare)


def _unknown(node: ast.expr, text: str) -> str:
    """What is wrong with a node of a kind that is not allowed."""
    instead = _INSTEAD.get(type(getattr(node, "op", None)))
    if instead:
        return f"write {instead}, with each comparison in parentheses, instead of & | ~"
    if isinstance(node, ast.Name):
        close = difflib.get_close_matches(node.id.lower(), QUANTITIES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown column {node.id}; {hint}columns are {', '.join(QUANTITIES)}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs":
        return "abs() takes one number or column"
    return f"{_source(node, text)} is not known here; {_KNOWN}"


def _error(node: ast.expr, message: str) -> ExpressionError:
    return ExpressionError(f"character {node.col_offset + 1}: {message}")


def _source(node: ast.expr, text: str) -> str:
    return _shortened(text[node.col_offset : node.end_col_offset])


def _shortened(source: str) -> str:
    return source if len(source) <= 40 else f"{source[:37]}..."


def _constant(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return float(node.operand.value) * (-1 if isinstance(node.op, ast.USub) else 1)
    return None


def _truth(node: ast.expr, columns: Mapping[str, Any]) -> Truth:
    """The truth of a checked condition."""
    match node:
        case ast.UnaryOp(operand=operand):
            inner = _truth(operand, columns)
            return Truth(inner.false, inner.true)
        case ast.BoolOp(op=op, values=values):
            return _joined([_truth(value, columns) for value in values], isinstance(op, ast.And))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_number(side, columns) for side in (left, *comparators)]
            pairs = zip(sides, ops, sides[1:], strict=False)
            return _joined([_compared(_COMPARISONS[type(op)], one, other) for one, op, other in pairs], True)
    raise AssertionError(node)  # the check lets nothing else through


def _joined(parts: list[Truth], every: bool) -> Truth:
    """Whether every one, or else any, is true."""
    true, false = parts[0].true, parts[0].false
    for part in parts[1:]:
        both, either = (operator.and_, operator.or_) if every else (operator.or_, operator.and_)
        true, false = both(true, part.true), either(false, part.false)
    return Truth(true, false)


def _compared(compare: Callable[[Any, Any], Any], one: Any, other: Any) -> Truth:
    known = (one == one) & (other == other)  # not of NaN
    true = compare(one, other) & known
    return Truth(true, known ^ true)


def _number(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    """The value of a checked number."""
    match node:
        case ast.Constant(value=value):
            return float(value)
        case ast.Name(id=name):
            return columns[name]
        case ast.Call(args=[argument]):
            return abs(_number(argument, columns))
        case ast.UnaryOp(op=op, operand=operand):
            return -_number(operand, columns) if isinstance(op, ast.USub) else _number(operand, columns)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            one, other = _number(left, columns), _number(right, columns)
            return one / other if not isinstance(other, float) or other else one * math.nan  # x / 0 is unknown
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_number(left, columns), _number(right, columns))
    raise AssertionError(node)
