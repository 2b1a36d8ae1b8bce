"""What planeloc made: every result bears a mark of its kind, and nothing without that mark is ever replaced or removed.

A mark is a few words near the beginning or the end of a file: the format of HDF5, JSON and safetensors, a text chunk of
PNG, the generator of a page, the header of a table in text. Bytes are searched, so that a damaged result is still
recognised and no library opens a file of unknown origin. A folder is planeloc's if its record bears the mark and
everything in it is what planeloc writes there: a file that someone put into it would be lost with it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planeloc.core.errors import PlanelocError

_LOOKED_AT = 1 << 16  # bytes at each end of a file
_REMEDY = "move it away or choose another name"
_OF_OTHERS = re.compile(r"\.snakemake_timestamp|\.DS_Store|Thumbs\.db")  # which programs leave in folders that they see
HDF5, _PNG = b"\x89HDF\r\n\x1a\n", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Kind:
    """A kind of result: what messages call it, and how it is recognised.

    Attributes
    ----------
    name : as in "not NAME that planeloc made".
    words : all of them stand within the first or last 64 KiB.
    any_of : so does one of these, if there are any.
    begins : the first bytes.
    record : of a folder, the file in it that bears the words.
    entries : of a folder, the relative paths of files that planeloc writes.
    format : the entry ``format`` of a JSON or safetensors file, where the writer has none of its own.
    """

    name: str
    words: tuple[bytes, ...]
    begins: bytes = b""
    any_of: tuple[bytes, ...] = ()
    record: str = ""
    entries: str = ""
    format: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether the result is a folder."""
        return bool(self.record)


def figure(verb: str) -> Kind:
    """A picture (PNG) of a command."""
    return Kind(f"a picture of `planeloc {verb}`", (b"Software\0" + software(verb).encode(),), _PNG)


def software(verb: str) -> str:
    """What a PNG, a TIFF or a page states as the program that wrote it."""
    return f"planeloc {verb}"


def table(verb: str = "") -> Kind:
    """A table of localizations (HDF5) of a command, or of any."""
    of = f" of `planeloc {verb}`" if verb else ""
    words = (made_by(verb).encode(),) if verb else ()
    return Kind(f"a table of localizations{of}", (b"planeloc localizations", *words), HDF5)


def made_by(verb: str) -> str:
    """An attribute of tables, which several commands make in one format."""
    return f"made by planeloc {verb}"


def page(verb: str) -> Kind:
    """A page (HTML) of a command."""
    return Kind(f"a page of `planeloc {verb}`", (generator(verb).encode(),))


def generator(verb: str) -> str:
    """The element of a page that says what wrote it."""
    return f'<meta name="generator" content="{software(verb)}">'


def stack(verb: str) -> Kind:
    """A z-stack (OME-TIFF) of a command."""
    return Kind(f"a stack of `planeloc {verb}`", (software(verb).encode() + b"\0", b"<OME "))


def json_file(what: str) -> Kind:
    """A JSON file whose ``format`` begins with "planeloc" and `what`."""
    return Kind(f"{what} (JSON)", (f'"format": "planeloc {what} '.encode(),), format=f"planeloc {what} 1")


ANY_FIGURE = Kind("a picture of planeloc", (b"Software\0planeloc ",), _PNG)
QUALITY = json_file("quality")
METRICS = json_file("evaluation")
VERDICTS = json_file("verdicts")
PROVENANCE = json_file("provenance")
MANIFEST = json_file("movie")
REGISTRATION = json_file("registration")
SYNCHRONIZATION = json_file("synchronization")
TRAINING = json_file("training")
RESOLUTION = json_file("resolution")
EXPERIMENT = json_file("experiment")
BENCHMARK = json_file("benchmark")
PSF = Kind("a PSF", (b"planeloc psf",), HDF5)
MICROSCOPE = Kind("a microscope file of `planeloc cameras`", (), b"# Made by `planeloc cameras`")
TRAJECTORY = Kind("a sample drift of `planeloc correct-drift`", (), b"frame,x_nm,y_nm,z_nm,x_sd_nm,y_sd_nm,z_sd_nm\n")
CAMERA_DRIFT = Kind("a drift of cameras of `planeloc localize`", (), b"frame,plane,x_nm,y_nm,x_sd_nm,y_sd_nm\n")
WEIGHTS = Kind("a network", (b'"planeloc network 1"',), format="planeloc network 1")
CHECKPOINT = Kind("a checkpoint of `planeloc train`", (b'"planeloc checkpoint 1"',), format="planeloc checkpoint 1")
MOVIE = Kind(
    "a movie",
    (b'"made_by": "planeloc convert"',),
    record="zarr.json",
    entries=r"zarr\.json|counts/zarr\.json|counts/c(/\d+)+",
)
PYRAMID = Kind(
    "an OME-Zarr image of `planeloc render`",
    (b'"made_by": "planeloc render"',),
    record="zarr.json",
    entries=r"zarr\.json|\d+/zarr\.json|\d+/c(/\d+)+",
)
SIMULATION_RECORD = json_file("simulation")
SIMULATION = Kind(
    "an acquisition of `planeloc simulate`",
    SIMULATION_RECORD.words,
    record="simulation.json",
    entries=r"(movie|beads|dark|bright|bright_without_em)_camera\d+\.ome\.tif|microscope\.yaml|simulation\.json"
    r"|(truth|((inter_camera|sample)_)?drift)\.csv",
)


def place(path: str | Path) -> Path:
    """Where an output goes: `path`, or what it points to where it is a symbolic link, which stays.

    Raises
    ------
    PlanelocError : links point to each other.
    """
    path = Path(path)
    if not path.is_symlink():
        return path
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        target = path
    if target.is_symlink():
        raise PlanelocError(f"{path}: a symbolic link that leads nowhere; remove it or choose another name")
    return target


def refuse_foreign(path: str | Path, kind: Kind) -> None:
    """Raise a `PlanelocError`, in one line with a remedy, if `path` holds anything but a result of that kind.

    Nothing, an empty file and an empty folder may be replaced.
    """
    if why := _foreign(place(path), kind):
        raise PlanelocError(f"{path}: {why}; {_REMEDY}")


def is_own(path: str | Path, kind: Kind) -> bool:
    """Whether there is a result of that kind at `path` itself, which is no link to one."""
    path = Path(path)
    return not path.is_symlink() and path.exists() and not _foreign(path, kind)


def remove_own(path: str | Path, kind: Kind) -> None:
    """Remove the file at `path` if it is a result of that kind; leave anything else."""
    if is_own(path, kind):
        Path(path).unlink(missing_ok=True)


def _foreign(path: Path, kind: Kind) -> str:
    """What is at `path` that must not be replaced by a result of that kind; empty if nothing is."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return _foreign_folder(path, kind)
        if not stat.S_ISREG(status.st_mode):
            return "is no regular file"
        if kind.is_folder:
            return f"is a file, and {kind.name} is a folder"
        return "" if not status.st_size or bears(path, kind) else _lost(kind)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"


def _lost(kind: Kind) -> str:
    return f"is not {kind.name} that planeloc made, and would be lost"


def _foreign_folder(path: Path, kind: Kind) -> str:
    entries = _files(path)
    first = next(entries, None)
    if not kind.is_folder:
        return "is a folder; the result is a file"
    if first is None:
        return ""
    if not (path / kind.record).is_file() or not bears(path, kind):
        return _lost(kind)
    own = re.compile(kind.entries)
    for entry in (first, *entries):
        relative = entry.relative_to(path).as_posix()
        if entry.is_symlink() or not (own.fullmatch(relative) or _OF_OTHERS.fullmatch(entry.name)):
            return f"holds {relative}, which planeloc did not put there and which would be lost"
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """Everything below a folder but real folders that are not empty; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
            else:
                yield from _files(Path(entry.path))


def bears(path: Path, kind: Kind) -> bool:
    """Whether a file, or the record of a folder, has the mark of a kind; whatever else is in the folder."""
    with (path / kind.record).open("rb") as file:
        seen = file.read(_LOOKED_AT)
        size = os.fstat(file.fileno()).st_size
        if size > _LOOKED_AT:
            file.seek(max(size - _LOOKED_AT, _LOOKED_AT))
            seen += file.read()
    if not seen.startswith(kind.begins) or not all(word in seen for word in kind.words):
        return False
    return not kind.any_of or any(word in seen for word in kind.any_of)
