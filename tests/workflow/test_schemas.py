"""Schemas, command line, package and manual say the same of every setting."""

from __future__ import annotations

import dataclasses
import sys
import typing
from importlib import import_module

import pytest

from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from preflight.schema import read_schema

SECTIONS = {
    "cameras": ("planeloc.camera_calibration.quality", "CamerasSettings"),
    "calibrate": ("planeloc.calibration.calibrate", "CalibrateSettings"),
    "register": ("planeloc.registration.register", "RegisterSettings"),
    "convert": ("planeloc.movie.convert", "ConvertSettings"),
    "train": ("planeloc.training.settings", "TrainSettings"),
    "localize": ("planeloc.localization.localize", "LocalizeSettings"),
    "filter": ("planeloc.postprocessing.filter", "FilterSettings"),
    "render": ("planeloc.rendering.render", "RenderSettings"),
    "evaluate": ("planeloc.evaluation.evaluate", "EvaluateSettings"),
}
FROM_THREADS = {"threads", "workers"}  # given by the rules, from what Snakemake grants them
FILES = {"train": {"start_from"}}
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


@pytest.mark.parametrize("section", SECTIONS)
def test_configuration_and_command_line_agree(section: str) -> None:
    """Names, types, bounds and defaults in the schema are those of the stage's settings."""
    module, name = SECTIONS[section]
    cls = getattr(import_module(module), name)
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name not in FROM_THREADS}
    described = read_schema("config")["properties"][section]["properties"]
    assert set(described) - FILES.get(section, set()) == set(fields)
    for key, field in fields.items():
        rule = described[key]
        assert rule["default"] == field.default, key
        assert rule["type"] == TYPES[kinds[key]], key
        assert rule["description"] == field.metadata["help"], key
        for bound in ("minimum", "maximum"):
            assert rule.get(bound) == field.metadata[bound], key
        assert rule.get("enum") == (list(field.metadata["choices"]) if field.metadata["choices"] else None), key


def test_microscope_schema_agrees_with_the_package() -> None:
    from planeloc.cameras.camera import Camera
    from planeloc.cameras.microscope import (
        LAYOUTS,
        REQUIRED,
        REQUIRED_OF_CAMERAS,
        REQUIRED_OF_REGIONS,
        Microscope,
        Region,
    )

    schema = read_schema("microscope")["properties"]
    assert set(read_schema("microscope")["required"]) == {*REQUIRED, "cameras"}
    assert schema["layout"]["enum"] == list(LAYOUTS)
    assert set(schema) == {field.name for field in dataclasses.fields(Microscope)}
    for key, cls, required in (("cameras", Camera, REQUIRED_OF_CAMERAS), ("regions", Region, REQUIRED_OF_REGIONS)):
        properties = schema[key]["items"]["properties"]
        assert schema[key]["items"]["required"] == list(required)
        assert {name: rule["default"] for name, rule in properties.items() if name not in required} == {
            field.name: field.default for field in dataclasses.fields(cls) if field.name not in required
        }
        assert set(properties) == {field.name for field in dataclasses.fields(cls)}
        for field in dataclasses.fields(cls):
            assert properties[field.name].get("minimum") == field.metadata["minimum"]
            assert properties[field.name].get("maximum") == field.metadata["maximum"]


@pytest.mark.parametrize("name", ["config", "samples", "calibrations", "microscope"])
def test_every_property_is_closed_described_and_in_the_manual(name: str) -> None:
    manual = (REPOSITORY / "config" / "README.md").read_text()

    def look(schema: dict) -> None:
        assert schema["additionalProperties"] is False
        for key, rule in schema["properties"].items():
            assert rule.get("description"), key
            assert "default" in rule or key in schema["required"], key
            assert f"`{key}`" in manual, f"{key} is not in config/README.md"
            for below in (rule, rule.get("items", {})):
                if "properties" in below:
                    look(below)

    look(read_schema(name))


def test_container_is_named_by_the_version() -> None:
    from planeloc import __version__

    assert __version__ in read_schema("config")["properties"]["container"]["default"]
