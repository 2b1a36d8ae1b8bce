"""What a notebook can import from planeloc."""

from __future__ import annotations

import subprocess
import sys

import pytest

import planeloc


@pytest.mark.parametrize("name", planeloc.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(planeloc, name) is not None and name in dir(planeloc)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'localise'"):
        _ = planeloc.localise


def test_importing_planeloc_loads_no_library() -> None:
    code = "import sys, planeloc\nassert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
