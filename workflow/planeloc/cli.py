"""The command line: one verb per stage. Parses, calls one function, turns expected errors into one line and exit
code 1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click
import torch

from planeloc import __version__
from planeloc.calibration import CalibrateSettings, calibrate
from planeloc.camera_calibration import CamerasSettings, Movies, measure_cameras
from planeloc.cli_options import file_option, provenance_option, write_record
from planeloc.conversion import ConvertSettings, convert
from planeloc.errors import PlanelocError
from planeloc.evaluation import EvaluateSettings, evaluate
from planeloc.files import read_json, unreadable
from planeloc.filtering import FilterSettings, filter_localizations
from planeloc.learning import TrainSettings
from planeloc.localization import LocalizeSettings, localize
from planeloc.microscope import read_microscope
from planeloc.paper.cli import paper
from planeloc.registration import RegisterSettings, register
from planeloc.rendering import RenderSettings, render
from planeloc.settings import options
from planeloc.training import train

_microscope = file_option("--microscope", "Microscope file (YAML).")
_beads = file_option("--beads", "Bead stack; repeat the option for each camera, in plane order.", multiple=True)
_figure = file_option("--figure", "Figure (PNG).")
_quality = file_option("--quality", "Quality values and verdicts (JSON).")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, package_name="planeloc")
def planeloc() -> None:
    """3D super-resolution images from the movies of a multi-plane microscope.

    The verbs in the order in which they are used: cameras, register, calibrate, convert, train, localize, filter,
    render, evaluate. The Snakemake workflow calls them for every sample of a sheet; see README.md. `simulate` makes
    the demo's acquisition, `paper` the experiments of the paper.
    """


@planeloc.command("simulate")
@file_option("--settings", "What to simulate (YAML).")
@file_option("--output", "Folder for the camera files, the microscope file and the truth.")
def simulate_command(settings: Path, output: Path) -> None:
    """Write an acquisition as a microscope would leave it, with the truth beside it."""
    from planeloc.acquisition import simulate

    simulate(settings, output)


@planeloc.command("cameras")
@file_option("--dark", "Movie in the dark; one file for each camera, in plane order.", multiple=True)
@file_option("--bright", "Movie of steady light; one file for each camera, in plane order.", multiple=True)
@file_option("--bright-without-em", "The same light with the EM gain switched off.", required=False, multiple=True)
@_microscope
@file_option("--output", "Microscope file with the measured cameras (YAML).")
@_figure
@_quality
@provenance_option
@options(CamerasSettings)
def cameras_command(
    dark: tuple[Path, ...],
    bright: tuple[Path, ...],
    bright_without_em: tuple[Path, ...],
    microscope: Path,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: CamerasSettings,
) -> None:
    """Measure offset, gain and noise of every camera by photon transfer."""
    movies = Movies(list(dark), list(bright), list(bright_without_em))
    measure_cameras(movies, read_microscope(microscope), microscope, output, figure, quality, settings)
    inputs = [*dark, *bright, *bright_without_em, microscope]
    write_record(provenance, "cameras", settings, inputs, [output, figure, quality])


@planeloc.command("calibrate")
@_beads
@_microscope
@file_option("--registration", "Maps from register; the PSFs of all cameras then agree with them.", required=False)
@click.option("--z-step-nm", type=float, required=True, help="Step of the scan between slices, nm, positive.")
@click.option("--scan", type=click.Choice(("objective", "sample")), required=True, help="What moved during the scan.")
@file_option("--output", "PSF (HDF5).")
@_figure
@_quality
@provenance_option
@options(CalibrateSettings)
def calibrate_command(
    beads: tuple[Path, ...],
    microscope: Path,
    registration: Path | None,
    z_step_nm: float,
    scan: str,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: CalibrateSettings,
) -> None:
    """Fit the PSF of every plane to z-stacks of beads."""
    calibrate(
        list(beads), read_microscope(microscope), z_step_nm, scan, output, figure, quality, settings, registration
    )
    used = {"z_step_nm": z_step_nm, "scan": scan}
    write_record(
        provenance,
        "calibrate",
        settings,
        [*beads, microscope, *([registration] if registration else [])],
        [output, figure, quality],
        used,
    )


@planeloc.command("register")
@_beads
@_microscope
@file_option("--output", "Map of every camera and how well it is known (JSON).")
@_figure
@_quality
@provenance_option
@options(RegisterSettings)
def register_command(
    beads: tuple[Path, ...],
    microscope: Path,
    output: Path,
    figure: Path,
    quality: Path,
    provenance: Path | None,
    settings: RegisterSettings,
) -> None:
    """Find how the cameras' fields lie on each other, from images of the same beads."""
    register(list(beads), read_microscope(microscope), output, figure, quality, settings)
    write_record(provenance, "register", settings, [*beads, microscope], [output, figure, quality])


@planeloc.command("convert")
@file_option("--movie", "Camera file; repeat the option for each camera, in plane order.", multiple=True)
@_microscope
@file_option("--store", "Movie (a zarr folder).")
@file_option("--manifest", "What the movie is and the checksums of its parts (JSON).")
@_quality
@provenance_option
@options(ConvertSettings)
def convert_command(
    movie: tuple[Path, ...],
    microscope: Path,
    store: Path,
    manifest: Path,
    quality: Path,
    provenance: Path | None,
    settings: ConvertSettings,
) -> None:
    """Gather camera files into one compressed, checksummed movie of raw counts."""
    convert(list(movie), read_microscope(microscope), store, manifest, quality, settings)
    hashed = {source["path"]: source["sha256"] for source in read_json(manifest)["sources"]}
    write_record(provenance, "convert", settings, [*movie, microscope], [manifest, quality], known=hashed)


@planeloc.command("train")
@file_option("--psf", "PSF from calibrate; default: the paper's microscope.", required=False)
@file_option("--microscope", "Microscope file (YAML); default: of the movie, else the paper's.", required=False)
@file_option(
    "--movie", "Manifest of a movie to measure the light from; may be repeated.", required=False, multiple=True
)
@file_option("--registration", "Maps from register: training shows how well they are known.", required=False)
@file_option("--start-from", "Weights to adopt if they fit, else to begin with.", required=False)
@file_option("--output", "Weights (safetensors).")
@file_option("--record", "How the weights came about (JSON).")
@_figure
@provenance_option
@options(TrainSettings)
def train_command(
    psf: Path | None,
    microscope: Path | None,
    movie: tuple[Path, ...],
    registration: Path | None,
    start_from: Path | None,
    output: Path,
    record: Path,
    figure: Path,
    provenance: Path | None,
    settings: TrainSettings,
) -> None:
    """Provide the network for a microscope: adopt given weights if they fit it, else train."""
    used = train(psf, microscope, list(movie), start_from, output, record, figure, settings, registration)
    inputs = [path for path in (psf, microscope, registration, start_from, *movie) if path]
    write_record(provenance, "train", settings, inputs, [output, record, figure], used)


@planeloc.command("localize")
@file_option("--movie", "Manifest of the movie.")
@file_option("--registration", "Maps from register.")
@file_option("--psf", "PSF from calibrate.")
@file_option("--weights", "Network from train.")
@file_option("--output", "Table of localizations (HDF5).")
@provenance_option
@options(LocalizeSettings)
def localize_command(
    movie: Path,
    registration: Path,
    psf: Path,
    weights: Path,
    output: Path,
    provenance: Path | None,
    settings: LocalizeSettings,
) -> None:
    """Find the molecules in every frame of a movie."""
    used = localize(movie, registration, psf, weights, output, settings)
    write_record(provenance, "localize", settings, [movie, registration, psf, weights], [output], used)


@planeloc.command("filter")
@file_option("--localizations", "Table from localize.")
@file_option("--output", "Filtered table (HDF5).")
@file_option("--picasso", "Filtered table for Picasso (HDF5, with its YAML beside it).")
@file_option("--thunderstorm", "Filtered table for ThunderSTORM (CSV).")
@provenance_option
@options(FilterSettings)
def filter_command(
    localizations: Path,
    output: Path,
    picasso: Path,
    thunderstorm: Path,
    provenance: Path | None,
    settings: FilterSettings,
) -> None:
    """Keep the localizations that can be trusted, and export them."""
    filter_localizations(localizations, output, picasso, thunderstorm, settings)
    write_record(provenance, "filter", settings, [localizations], [output, picasso, thunderstorm])


@planeloc.command("render")
@file_option("--localizations", "Filtered table.")
@file_option("--depth-image", "Depth-coloured picture (PNG).")
@file_option("--voxel-image", "Picture of the voxels seen more than once (PNG).")
@file_option("--tiff", "Rendered density (OME-TIFF).")
@file_option("--voxel-tiff", "Frames per voxel (OME-TIFF).")
@provenance_option
@options(RenderSettings)
def render_command(
    localizations: Path,
    depth_image: Path,
    voxel_image: Path,
    tiff: Path,
    voxel_tiff: Path,
    provenance: Path | None,
    settings: RenderSettings,
) -> None:
    """Draw the super-resolution pictures."""
    used = render(localizations, depth_image, voxel_image, tiff, voxel_tiff, settings)
    write_record(provenance, "render", settings, [localizations], [depth_image, voxel_image, tiff, voxel_tiff], used)


@planeloc.command("evaluate")
@file_option("--localizations", "Filtered table.")
@file_option("--truth", "Where the molecules were (CSV), if known.", required=False)
@file_option("--psf", "PSF from calibrate, to compare errors with the Cramér–Rao bound.", required=False)
@file_option("--microscope", "Microscope file (YAML), for the same.", required=False)
@file_option("--output", "Measures and verdicts (JSON).")
@_figure
@provenance_option
@options(EvaluateSettings)
def evaluate_command(
    localizations: Path,
    truth: Path | None,
    psf: Path | None,
    microscope: Path | None,
    output: Path,
    figure: Path,
    provenance: Path | None,
    settings: EvaluateSettings,
) -> None:
    """Measure a table, against the truth where it is known."""
    evaluate(localizations, truth, output, figure, settings, psf, microscope)
    inputs = [path for path in (localizations, truth, psf, microscope) if path]
    write_record(provenance, "evaluate", settings, inputs, [output, figure])


planeloc.add_command(paper)


def main() -> None:
    """Entry point: one line and exit code 1 for what the user can mend, 2 for wrong usage."""
    torch.set_num_threads(1)  # a workflow runs several commands at once; `train` asks for more
    try:
        planeloc(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("planeloc: interrupted; run the same command again, what is finished is not repeated", file=sys.stderr)
        sys.exit(130)
    except PlanelocError as error:
        _stop(error)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        if not error.filename:
            raise
        _stop(unreadable(error.filename, error))


def _stop(error: PlanelocError) -> NoReturn:
    print(f"planeloc: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
