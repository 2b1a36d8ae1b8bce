"""Schemas, command line, package and reference say the same of every setting."""

from __future__ import annotations

import dataclasses
import sys
import typing
from importlib import import_module
from pathlib import Path

import pytest

from support.plugins import install
from support.repository import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "workflow"))

from planeloc.core.settings import setting, threshold
from planeloc.localization.settings import LocalizeSettings
from planeloc.networks.kinds import GROUP, network_kind
from planeloc.training.settings import TrainSettings
from preflight.configuration import command_options, complete_configuration
from preflight.schema import named_groups, read_schema
from schemas import write_reference

SECTIONS = {
    "cameras": ("planeloc.camera_calibration.quality", "CamerasSettings"),
    "calibrate": ("planeloc.calibration.calibrate", "CalibrateSettings"),
    "register": ("planeloc.registration.register", "RegisterSettings"),
    "convert": ("planeloc.movie.convert", "ConvertSettings"),
    "update_registration": ("planeloc.registration.update_registration", "UpdateRegistrationSettings"),
    "synchronize": ("planeloc.synchronization.synchronize", "SynchronizeSettings"),
    "train": ("planeloc.training.settings", "TrainSettings"),
    "localize": ("planeloc.localization.localize", "LocalizeSettings"),
    "correct_drift": ("planeloc.postprocessing.correct_drift", "CorrectDriftSettings"),
    "filter": ("planeloc.postprocessing.filter", "FilterSettings"),
    "link": ("planeloc.postprocessing.link", "LinkSettings"),
    "measure_resolution": ("planeloc.resolution.settings", "MeasureResolutionSettings"),
    "render": ("planeloc.rendering.render", "RenderSettings"),
    "views": ("planeloc.rendering.view", "ViewSettings"),
    "view_3d": ("planeloc.rendering.view_3d.view_3d", "View3DSettings"),
    "evaluate": ("planeloc.evaluation.evaluate", "EvaluateSettings"),
}
FILES = {
    "train": {"start_from"},
    "filter": {"exports"},
    "link": {"exports"},
    "views": {"samples"},
    "render": {"localizations"},
}
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


@pytest.mark.parametrize("path", write_reference.files(), ids=str)
def test_the_committed_file_is_current(path: Path) -> None:
    """Otherwise run: python workflow/schemas/write_reference.py"""
    assert (REPOSITORY / path).read_text(encoding="utf-8") == write_reference.files()[path]


@pytest.mark.parametrize("section", SECTIONS)
def test_configuration_and_command_line_agree(section: str) -> None:
    """Names, types, bounds and defaults in the schema are those of the stage's settings."""
    module, name = SECTIONS[section]
    cls = getattr(import_module(module), name)
    kinds = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if not f.metadata["command_line_only"]}
    rules = read_schema("config")["properties"][section]
    described = dict((named_groups(rules) or rules)["properties"])
    thresholds = described.pop("thresholds", {"properties": {}})["properties"]
    assert set(described) - FILES.get(section, set()) == {name for name, f in fields.items() if not f.metadata["group"]}
    assert set(thresholds) == {name for name, f in fields.items() if f.metadata["group"]}
    for key, field in fields.items():
        rule = thresholds[key] if field.metadata["group"] else described[key]
        assert rule["default"] == field.default, key
        assert rule["type"] == TYPES[kinds[key]], key
        assert rule["description"] == field.metadata["help"], key
        automatic, bounds = rule.get("anyOf", ({}, rule))
        assert automatic.get("const") == field.metadata["automatic"], key
        for bound in ("minimum", "maximum"):
            assert bounds.get(bound) == field.metadata[bound], key
        assert rule.get("enum") == (list(field.metadata["choices"]) if field.metadata["choices"] else None), key


def test_thresholds_are_in_their_group_and_their_old_places_known() -> None:
    config = read_schema("config")
    for section, rule in config["properties"].items():
        for key in rule.get("properties", {}).get("thresholds", {}).get("properties", {}):
            assert config["moved"][f"{section}.{key}"] == f"{section}.thresholds.{key}"
        alarms = {"warn", "fail"} & {word for key in rule.get("properties", {}) for word in key.split("_")}
        assert not alarms, section


def test_the_reference_begins_with_the_settings_that_matter() -> None:
    text = (REPOSITORY / write_reference.REFERENCE).read_text(encoding="utf-8")
    first = text.partition("## Advanced settings")[0]
    before, _, after = first.partition("### `views`")  # which nobody needs who defines none
    keys = [
        line.split("`")[1] for line in (before + after.partition("\n###")[2]).splitlines() if line.startswith("| `")
    ]
    assert 20 <= len(keys) <= 36, keys
    assert {"start_from", "threshold", "minimum_probability", "model"} <= set(keys)


def test_a_renamed_setting_is_in_the_table_of_moved_ones() -> None:
    @dataclasses.dataclass(frozen=True)
    class Example:
        size: int = setting(3, "Size.", was=("extent",))
        size_warn: int = threshold(9, "warn above", "size", was=("size_alarm",))

    moved = dict(write_reference._moved("stage", dataclasses.fields(Example)))
    assert moved == {
        "stage.extent": "stage.size",
        "stage.size_warn": "stage.thresholds.size_warn",
        "stage.size_alarm": "stage.thresholds.size_warn",
        "stage.thresholds.size_alarm": "stage.thresholds.size_warn",
    }


def test_options_are_what_differs_from_the_defaults_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    given = {"train": {"seed": 2, "registration_resampling": False, "samples": 2.0e5, "density": "1-2", "batch": 0}}
    config = complete_configuration({**given, "calibrate": {"thresholds": {"step_warn": 0.4}, "model": "gaussian"}}, [])
    expected = "--density=1-2 --no-registration-resampling --samples=200000 --seed=2"
    assert command_options(config, "train") == expected
    assert command_options(config, "train", ("seed",)) == "--seed=2"
    assert command_options(config, "calibrate") == "--model=gaussian --step-warn=0.4"
    assert command_options(config, "register") == ""


def test_a_kind_of_another_package_may_bring_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "toy.safetensors"
    weights.write_text("weights")
    install(tmp_path / "site", monkeypatch, GROUP, "toy", f"shipped_weights = {str(weights)!r}\n")
    monkeypatch.chdir(REPOSITORY)
    read_schema.cache_clear()  # without the package
    assert complete_configuration({"train": {"network": "toy"}}, [])["train"]["start_from"] == str(weights)
    read_schema.cache_clear()  # with it
    for name in ("regression", "upsampling"):
        found = complete_configuration({"train": {"network": name}}, [])["train"]["start_from"]
        assert found == network_kind(name).shipped_weights


def test_the_help_gives_the_defaults_of_the_kinds() -> None:
    texts = {field.name: field.metadata["help"] for field in dataclasses.fields(TrainSettings)}
    (threshold_help,) = (f.metadata["help"] for f in dataclasses.fields(LocalizeSettings) if f.name == "threshold")
    for name in ("regression", "upsampling"):
        kind = network_kind(name)
        own = kind.training_defaults
        assert f"{own['samples']:,} ({name}" in texts["samples"]
        assert f"0: {own['batch']} (" in texts["batch"]
        assert f"{own['learning_rate']} ({name})" in texts["learning_rate"]
        assert f"({name}; auto: {own['channels']})" in texts["channels"]
        assert f"{kind.detection_threshold} ({name})" in threshold_help


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
def test_every_property_is_closed_described_and_in_the_documents(name: str) -> None:
    documents = (REPOSITORY / "config" / "README.md", REPOSITORY / write_reference.REFERENCE)
    manual = "".join(document.read_text(encoding="utf-8") for document in documents)

    def look(schema: dict) -> None:
        assert schema["additionalProperties"] is False
        for key, rule in schema["properties"].items():
            assert rule.get("description"), key
            assert "default" in rule or key in schema["required"], key
            assert f"`{key}`" in manual, f"{key} is in no document"
            for below in (rule, rule.get("items", {})):
                if "properties" in below:
                    look(below)

    look(read_schema(name))


def test_container_is_named_by_the_version() -> None:
    from planeloc import __version__

    assert __version__ in read_schema("config")["properties"]["container"]["default"]


def test_kinds_of_network_of_other_packages_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds() -> list[str]:
        return read_schema.__wrapped__("config")["properties"]["train"]["properties"]["network"]["enum"]

    own = kinds()
    (tmp_path / "toy-1.0.dist-info").mkdir()
    (tmp_path / "toy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (tmp_path / "toy-1.0.dist-info" / "entry_points.txt").write_text("[planeloc.network_kinds]\ntoy = toy:KIND\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert kinds() == [*own, "toy"]
