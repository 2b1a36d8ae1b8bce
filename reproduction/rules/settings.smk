# Read and check the settings, and the functions that the rules share.
import os
import shlex
import sys
from pathlib import Path

import yaml

FOLDER = Path(workflow.basedir)
sys.path.insert(0, str(FOLDER.parent / "workflow"))

from preflight.errors import ConfigurationError
from preflight.schema import YamlLines, check, read_schema, with_defaults
from preflight.stage_versions import stage_version

# The commands are installed beside the Python that runs Snakemake, also if that environment was never activated.
os.environ.update(
    PATH=os.pathsep.join([os.environ.get("PATH", ""), os.path.dirname(sys.executable)])
)

VERSIONS = FOLDER / "planeloc_reproduction" / "stage_versions.toml"
NETWORKS = ["robust", "nonrobust"]
# Snakemake lowers this to what --cores allows.
ALL_CORES = 64


def complete_settings():
    """The settings with their defaults (in place), checked."""
    files = map(os.path.relpath, workflow.overwrite_configfiles or workflow.configfiles)
    schema = yaml.safe_load((FOLDER / "config" / "schema.yaml").read_text())
    config.update(with_defaults(config, schema))
    locate = YamlLines(files)
    check(config, schema, locate)
    for network in NETWORKS:
        if config[network] and not Path(config[network]).is_file():
            raise ConfigurationError(
                f"{locate((network,))}: {network}: {config[network]} not found; correct the path, or give '' to train "
                "it (hours: see reproduction/config/full.yaml)"
            )


try:
    complete_settings()
except ConfigurationError as error:
    sys.exit(f"{error}")


def options(settings):
    """Command line options for a mapping of settings."""
    words = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            words.append(f"--{name}={value}")
    return shlex.join(words)


def of_config(*keys):
    """Command line options for these settings."""
    return options({key: config[key] for key in keys})


def repeated(option, name):
    """A function for `params:` that gives the files of the input called `name`, each after `option`."""
    return lambda wildcards, input: " ".join(
        f"{option} {shlex.quote(str(file))}" for file in [input.get(name)] if file
    )


def weights_of(wildcards):
    """An input function: the weights, where the estimator is a network."""
    name = wildcards.get("estimator", wildcards.get("network"))
    return (
        f"<results>/experiments/training/{name}.safetensors" if name in NETWORKS else []
    )


def record_of_weights(wildcards):
    """An input function: the record of the training beside given weights, if there is one."""
    given = config[wildcards.network]
    record = Path(given).with_suffix(".training.json") if given else Path()
    return str(record) if record.is_file() else []


def gpus():
    """How many GPUs a job asks a cluster for."""
    return 1 if config["device"] == "cuda" else 0


wildcard_constraints:
    network="robust|nonrobust",
    estimator="[a-z_]+",
    data="[a-z_]+",
    sweep="[a-z_]+",
