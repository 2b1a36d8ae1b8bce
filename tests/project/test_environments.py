"""pyproject.toml, the pip lock and the conda file must describe the same software."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.repository import REPOSITORY

# Where conda-forge and bioconda name a package differently from PyPI.
PYPI_NAMES = {
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "pytorch": "torch",
    "snakemake-minimal": "snakemake",
}
CONDA_ONLY = {"pip", "python"}


def locked_versions() -> dict[str, str]:
    lines = (REPOSITORY / "envs" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def declared_requirements() -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    return [Requirement(text) for text in [*project["dependencies"], *extras]]


def conda_environment() -> dict:
    return yaml.safe_load((REPOSITORY / "envs" / "planeloc.yaml").read_text(encoding="utf-8"))


def conda_versions() -> dict[str, str]:
    """Return PyPI name → version of every pinned conda dependency."""
    versions = {}
    for spec in conda_environment()["dependencies"]:
        name, _, version = spec.partition(" ")
        if name not in CONDA_ONLY:
            versions[PYPI_NAMES.get(name, name)] = version
    return versions


def test_every_line_of_the_lock_is_one_exact_public_version():
    for line in (REPOSITORY / "envs" / "requirements.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


@pytest.mark.parametrize("requirement", declared_requirements(), ids=str)
def test_the_lock_satisfies_pyproject(requirement):
    version = locked_versions().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in the lock: run envs/lock.py"
    assert requirement.specifier.contains(version), f"the lock has {version}: run envs/lock.py"


def test_the_lock_leaves_cuda_to_torch():
    assert not [name for name in locked_versions() if name.startswith(("nvidia-", "cuda-")) or name == "triton"]


@pytest.mark.parametrize("name", sorted(conda_versions()))
def test_conda_pins_equal_the_lock(name):
    assert conda_versions()[name] == f"={locked_versions()[canonicalize_name(name)]}"


def test_conda_has_every_declared_requirement():
    declared = {canonicalize_name(requirement.name) for requirement in declared_requirements()}
    assert declared <= set(conda_versions())


def test_conda_python_is_a_range_that_pyproject_admits():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (python,) = (spec for spec in conda_environment()["dependencies"] if spec.startswith("python "))
    assert python.partition(" ")[2].startswith(project["requires-python"])


def test_the_image_is_built_from_the_lock():
    dockerfile = (REPOSITORY / "containers" / "Dockerfile").read_text(encoding="utf-8")
    assert "envs/requirements.txt" in dockerfile
    assert re.search(r"^USER (?!root)", dockerfile, re.MULTILINE)
    assert not re.search(r"^ARG PIP_\w+=", dockerfile, re.MULTILINE), "a mirror of one machine must not be a default"


def test_citation_names_the_version():
    import planeloc

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == planeloc.__version__
