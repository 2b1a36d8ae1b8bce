"""Conditions of the filter: what they mean, what a mistake is called, and that nothing else is ever run."""

import ast
import math
import string
import subprocess
import sys
from runpy import run_path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planeloc.io.localization_table import ADDED_COLUMNS, COLUMNS
from planeloc.postprocessing import filter_expression
from planeloc.postprocessing.filter_expression import QUANTITIES, Expression, ExpressionError

NAN = math.nan


def fails(text, **columns):
    known = {name: np.full(1, NAN) for name in QUANTITIES}
    found = Expression(text).fails(known | {name: np.array(values, float) for name, values in columns.items()})
    return np.broadcast_to(found, np.shape(next(iter(columns.values())))).tolist()


def test_columns_and_derived_quantities_are_known():
    assert set(QUANTITIES) == {*COLUMNS, *ADDED_COLUMNS, "lateral_sd", "edge_distance"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photons > 800 and z_sd < 40", [False, True, True, True]),
        ("photons > 800 or z_sd < 40", [False, False, False, True]),
        ("not photons > 800", [True, False, True, False]),
        ("not (photons > 800 and z_sd < 40)", [True, False, False, False]),
        ("500 <= photons < 950", [False, True, True, True]),
        ("500 <= photons < 951 < 1000", [False, True, False, True]),
        ("photons == 900", [False, True, True, True]),
        ("photons != 900", [True, False, False, False]),
        ("abs(photons - 900) <= 50", [False, True, False, True]),
        ("-photons / 2 + 3 * z_sd > -300", [True, False, True, False]),
        ("+photons > 8e2", [False, True, False, True]),
        ("  photons>800  ", [False, True, False, True]),
    ],
)
def test_what_it_means(text, expected):
    photons, z_sd = np.array([900.0, 100, 950, 200]), np.array([30.0, 30, 50, 50])
    python = text.strip().replace("photons", "p").replace("z_sd", "s")
    meant = [not eval(python, {"abs": abs, "p": p, "s": s}) for p, s in zip(photons, z_sd, strict=True)]
    assert fails(text, photons=photons, z_sd=z_sd) == meant == expected


@pytest.mark.parametrize(
    ("text", "failing"),
    [
        ("photons > 800", False),
        ("not photons > 800", False),
        ("photons != photons", False),
        ("photons > 800 and z < 0", True),  # false whatever the photons are
        ("photons > 800 and z > 0", False),
        ("photons > 800 or z < 0", False),
        ("not (photons > 800 or z > 0)", True),
        ("photons / 0 > 1", False),
        ("0 < photons < 0 < z", False),
        ("z < photons < 1 < 0", True),
    ],
)
def test_what_is_unknown_removes_nothing(text, failing):
    assert fails(text, photons=[NAN], z=[10.0]) == [failing]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("photon > 800", 1, "unknown column photon; did you mean photons? columns are frame, x, y, z, photons"),
        ("z > 3 and sd < 4", 11, "unknown column sd;"),
        ("photons = 800", 9, "write == instead of ="),
        ("photons => 800", 9, "write >= instead of =>"),
        ("photons > 3 && z < 2", 13, "write and instead of &&"),
        ("photons > 3 AND z < 2", 13, "write and instead of AND"),
        ("(z > 3) & (z < 4)", 1, "write and, with each comparison in parentheses"),
        ("(photons > 3", 1, "a parenthesis is missing"),
        ("z > 3) or (x > 2", 6, ") is not expected here"),
        ("photons >", 10, "the condition ends too early"),
        ("photons", 1, "photons stands where a comparison such as photons > 800 is expected"),
        ("z > 1 and 3", 11, "3 stands where a comparison"),
        ("(z > 1) > 2", 2, "z > 1 stands where a number or a column is expected"),
        ("z > '800'", 5, "'800' is not known here"),
        ("z > 1e999", 5, "1e999 is not known here"),
        ("z > True", 5, "True is not known here"),
        ("z > 2 ** 3", 5, "2 ** 3 is not known here"),
        ("abs(z, 2) > 1", 1, "abs() takes one number or column"),
        ("abs(*z) > 1", 1, "abs() takes one number or column"),
        ("abs > 1", 1, "unknown column abs"),
        ("z in (1, 2)", 1, "z in (1, 2) is not known here"),
        ("z > 1 # and more", 7, "'#' means nothing here"),
        ("z > 1\nz > 2", 6, "means nothing here"),
        ("photons ≥ 3", 9, "'≥' means nothing here"),
        ("__import__('os').system('true') > 0", 1, "__import__('os').system('true') is not known here"),
        ("().__class__ > 0", 1, "is not known here"),
        ("z.real > 0", 1, "z.real is not known here"),
        ("z[0] > 0", 1, "z[0] is not known here"),
        ("(lambda: 1)() > 0", 1, "is not known here"),
        ("[z for z in (1,)] > 0", 1, "is not known here"),
        ("(z := 3) > 0", 2, "is not known here"),
        ("f'{z}' > 0", 1, "is not known here"),
    ],
)
def test_a_mistake_is_named_with_its_place(text, place, message):
    with pytest.raises(ExpressionError) as error:
        Expression(text)
    said = str(error.value)
    assert said.startswith(f"character {place}: ") and message in said and "\n" not in said


@pytest.mark.parametrize(
    "text", ["", "   ", "z > " + "9" * 900, "(" * 400 + "z", "-" * 900 + "z > 1", "z +" * 300 + "z > 1", "z > 1 " * 400]
)
def test_what_is_empty_or_endless_is_refused(text):
    with pytest.raises(ExpressionError):
        Expression(text)


def test_limits_are_the_numbers_that_columns_are_compared_with():
    found = list(Expression("photons > 800 and (-400 <= z < 400 or not 40 < z_sd) and x > y").limits())
    assert sorted(found) == [("photons", 800.0), ("z", -400.0), ("z", 400.0), ("z_sd", 40.0)]


def test_the_file_needs_nothing_of_the_package():
    alone = run_path(filter_expression.__file__)
    assert alone["Expression"]("photons > 800").names == {"photons"}


WORDS = [
    *QUANTITIES,
    "abs",
    "and",
    "or",
    "not",
    "if",
    "else",
    "lambda",
    "in",
    "is",
    "__import__",
    "eval",
    "exec",
    "open",
]
WORDS += [
    *"()[]{}.,:;<>=!+-*/%&|^~@'\"\\ ",
    "<=",
    ">=",
    "==",
    "!=",
    "**",
    "//",
    ":=",
    "1",
    "0.5",
    "1e3",
    "os",
    "__class__",
]


@given(st.one_of(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), st.text(string.printable, max_size=40)))
@settings(max_examples=600, deadline=None)
def test_any_text_is_a_condition_or_a_mistake_and_nothing_is_run(text):
    """Whatever passes has only names and calls that are known, and gives the same as Python's own meaning of it."""
    try:
        expression = Expression(text)
    except ExpressionError as error:
        assert "\n" not in str(error)
        return
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        assert not isinstance(node, ast.Attribute | ast.Subscript | ast.Lambda | ast.NamedExpr | ast.JoinedStr)
        assert not isinstance(node, ast.Call) or node.func.id == "abs"
        assert not isinstance(node, ast.Name) or node.id == "abs" or node.id in QUANTITIES
    assert expression.fails(dict.fromkeys(QUANTITIES, 3.0)) in (True, False)


AUDIT = """
import sys
from runpy import run_path
given = run_path(sys.argv[1])
columns, texts, happened = dict.fromkeys(given["QUANTITIES"], 3.0), sys.argv[2:], []
def judge(text):
    try:
        given["Expression"](text).fails(columns)
    except given["ExpressionError"]:
        pass
judge("photons > 800"), judge("photon > 800"), judge("photons >")  # what Python itself reads when it first parses
sys.addaudithook(lambda event, arguments: happened.append(event))
for text in texts:
    judge(text)
happened = [event for event in happened if event != "compile"]  # by which the parser announces itself
print(len(texts), happened)
"""
ATTACKS = (
    "__import__('os').system('true') > 0",
    "abs(__import__('os').getpid()) > 0",
    "eval('1') > 0",
    "exec('import os') or z > 1",
    "open('/etc/hostname').read() > 0",
    "().__class__.__bases__[0].__subclasses__() > 0",
    "[z for z in range(9)] > 0",
    "(lambda: open('x', 'w'))() > 0",
    "abs.__self__ > 0",
    "z > (yield)",
    "f'{open(1)}' > 0",
    "z > 1 if print(z) else z < 1",
)


def test_python_notices_nothing_but_its_parser():
    """No import, no execution of code, no file, no process: all of these raise audit events."""
    command = [
        sys.executable,
        "-c",
        AUDIT,
        filter_expression.__file__,
        "abs(photons) > 800 and z_sd < 40 / x",
        *ATTACKS,
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=1) == [str(len(ATTACKS) + 1), "[]\n"]
