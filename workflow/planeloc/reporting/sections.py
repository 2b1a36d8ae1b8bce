"""What the page says of every stage and of every figure. A new stage or figure is one entry here.

The names are those that ``planeloc report quality`` is given: ``NAME=FILE`` for a stage, ``figure:NAME=FILE`` for a
figure, ``link:NAME=FILE`` for a page beside it. Names without an entry are shown, too, by their words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """One stage on the page: its heading, and what it is about."""

    title: str
    about: str = ""


@dataclass(frozen=True)
class Caption:
    """A figure on the page: the section that it belongs to, and what can be seen."""

    section: str
    text: str


SECTIONS = {
    "cameras": Section("Cameras", "Offset, gain and noise of the cameras, from dark and bright movies."),
    "registration": Section("Registration", "The transforms between the cameras, from images of beads."),
    "calibration": Section("Calibration", "PSF and focal depth of every plane, from the bead scan."),
    "movie": Section("Movie", "Whether the noise of the raw movie is that of the declared cameras."),
    "synchronization": Section("Synchronization", "Whether all cameras show the same moment in a frame."),
    "registration_in_movie": Section(
        "Transforms in the movie", "Whether the transforms of the beads hold in the movie."
    ),
    "network": Section("Network", "Whether the movie is like the images that the network was trained with."),
    "camera_drift": Section("Drift of the cameras", "How the cameras moved against each other through the movie."),
    "localization": Section("Localization", "Whether the localizations are where the raw frames show molecules."),
    "overlay": Section("Overlay", "Raw frames with the localizations found in them."),
    "sample_drift": Section("Sample drift", "Drift of the sample over the movie, estimated from the localizations."),
    "filter": Section("Filter", "Which localizations were kept."),
    "linking": Section("Linking", "Localizations of one blink in several frames, joined."),
    "resolution": Section("Resolution", "The resolution of the result, estimated from the localizations."),
    "views": Section("Views", "The result from other sides."),
    "view_3d": Section("3D view", "The localizations in 3D, on a page of their own."),
    "evaluation": Section("Evaluation", "Statistics of the localizations; errors where the ground truth is known."),
}
"""Stages by name, in the order of the page."""

PICTURE = "depth"
"""Name of the figure that stands on top of the page."""

CAPTIONS = {
    PICTURE: Caption(
        "",
        "Every localization is a Gaussian spot, coloured by depth (0: midway between the first and last focal plane). "
        "A dashed line, where there is one, is around the field that all cameras see.",
    ),
    "cameras": Caption(
        "cameras",
        "Variance of the pixels against their mean. The circles should lie on the line; its slope is the gain. Dashed: "
        "expected from the microscope file.",
    ),
    "registration": Caption(
        "registration",
        "Residuals of the beads (arrows, enlarged) should be short and point in random directions. Shaded: the field "
        "that all cameras see. Grey lines: "
        "standard deviation of the transform, nm.",
    ),
    "calibration": Caption(
        "calibration",
        "Measured spot widths (circles) should lie on the defocus curves (lines), with one minimum per plane. Below: "
        "side view of the PSF model, and its residual.",
    ),
    "synchronization": Caption(
        "synchronization",
        "Left: all lines should be at 0, drawn a little apart to be seen; a camera that is late, early or lost a "
        "frame leaves "
        "it. Right: agreement of the "
        "changes of light of each camera with the others', which should have one clear peak.",
    ),
    "registration_in_movie": Caption(
        "registration_in_movie",
        "Agreement of each camera's registered images with the others', against a displacement. The bright spot should "
        "lie where the white lines cross.",
    ),
    "training": Caption(
        "network", "The losses should fall and level off together. Errors should be close to the Cramér–Rao bound."
    ),
    "camera_drift": Caption(
        "camera_drift",
        "Drift of each camera against the reference camera, with a band of one standard deviation. The localizations "
        "follow it; a camera that settles, jumps or trembles still costs precision.",
    ),
    "overlay": Caption(
        "localization",
        "Raw frames of every camera. Every spot should have a circle, and every circle a spot on some plane; it is "
        "bold on the plane closest to its depth. Bottom: mean image of molecules in focus; the cross is where table "
        "and transforms put them. Inter-camera drift is part of the offset.",
    ),
    "sample_drift": Caption(
        "sample_drift",
        "Drift along x, y and z, with twice its standard deviation. Grey: from two halves of the field; they should "
        "agree. Right: a part of the sample before and after the correction.",
    ),
    "before_after": Caption("sample_drift", "The picture without and with the correction of the sample drift."),
    "filtered": Caption("filter", "Distributions of the localizations, with the limits of the filter."),
    "linking": Caption("linking", "How many frames a blink lasts, and in how many of them it was localized."),
    "resolution": Caption("resolution", "Correlation of two halves of the localizations against spatial frequency."),
    "projections": Caption("views", "The result seen along z, y and x."),
    "slices": Caption("views", "The result in slices along z."),
    "evaluation": Caption(
        "evaluation",
        "With ground truth: errors along x, y and z, error and recall against depth and photons. Without: "
        "localizations over time, and distributions of depth, photons and localization precision.",
    ),
}
"""Figures by name, in the order of their section."""

VIEW = "view_"
"""How the names of the figures begin that the configuration defines."""

LINKS = {"view_3d": "Interactive 3D view (a file of its own, beside this page)"}
"""Pages beside this one by name."""


def caption_of(name: str) -> Caption | None:
    """The caption of a figure; that of a view is its name. None for a figure without an entry."""
    if name.startswith(VIEW) and name not in LINKS:
        return Caption("views", f"View {name.removeprefix(VIEW)}.")
    return CAPTIONS.get(name)


def section_of(name: str) -> Section:
    """The section of a stage; one named by its words if it has no entry."""
    return SECTIONS.get(name) or Section(words(name))


def words(name: str) -> str:
    """A name as a heading: sample_drift is "Sample drift"."""
    return name.replace("_", " ").capitalize()
