"""Compatibility of a network with a microscope: errors in depth, photons and noise, settings of its training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from planeloc.networks.kinds import NetworkKind, network_kind
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import PSF, Emitters
from planeloc.scenes.scene import Scene

_WINDOW_PX = 15
_DEPTH_STEP_NM = 5.0
_BEYOND_NM = 200.0  # depths may be found outside the network's range
# Not settings: `train` and `localize` must agree, or the training that `localize` advises would not be done.
PHOTONS_FACTOR = 2.0  # of the movie's dimmest and brightest molecules, from those of training
SHOT_NOISE_FACTOR = 1.5
PIXEL_NOISE_FACTOR = 1.3  # beyond, 5 % of the shipped networks' detections are noise
_FIELD_UNITS = {"upsampling": " voxels per pixel", "voxel_depth_nm": " nm"}
_SHARE_OF_DRIFT = 1 / 3  # largest error of a transform, of the displacements in training: adds 5 % to them


def mistaken_depths(truth: PSF, model: PSF, depths_nm: NDArray) -> NDArray[np.float64]:
    """Return the error (nm) at each depth if images of PSF `truth` are analysed with PSF `model`.

    Noise-free least squares over depth and photons, the emitter in the middle of a pixel. The pixel sizes may differ: a
    network has pixels as input, not nanometres.
    """
    candidates = np.arange(depths_nm.min() - _BEYOND_NM, depths_nm.max() + _BEYOND_NM, _DEPTH_STEP_NM)
    seen, library = _unit_images(truth, depths_nm), _unit_images(model, candidates)
    likeness = seen @ library.T
    best = likeness.argmax(axis=1).clip(1, len(candidates) - 2)
    rows = np.arange(len(best))
    before, at, after = (likeness[rows, best + step] for step in (-1, 0, 1))
    vertex = 0.5 * (before - after) / np.minimum(before - 2 * at + after, -1e-15)
    return candidates[best] + vertex.clip(-1, 1) * _DEPTH_STEP_NM - depths_nm


def worst_mistaken_depth(record: NetworkRecord, psf: PSF) -> float:
    """Return the largest error in depth, nm, over a network's range on a microscope with another PSF."""
    low, high = record.scene.depth_range_nm
    return float(np.abs(mistaken_depths(psf, record.psf, np.arange(low, high + 1, 50.0))).max())


def _unit_images(psf: PSF, depths_nm: NDArray) -> NDArray[np.float64]:
    """(depths, pixels of all planes), each of length 1."""
    z = torch.from_numpy(np.asarray(depths_nm, dtype=np.float64))
    emitters = Emitters.in_middle(_WINDOW_PX * psf.pixel_size_nm, z)
    images = psf.expected_photons(emitters, (_WINDOW_PX, _WINDOW_PX)).flatten(1)
    return (images / images.norm(dim=1, keepdim=True)).numpy()


def disagreements(
    record: NetworkRecord, psf: PSF, scene: Scene, maximum_depth_error_nm: float, kind: str = "upsampling"
) -> list[str]:
    """Return why a network should not be used with a microscope: one sentence for each reason, none if it fits.

    Parameters
    ----------
    psf, scene : the microscope, its photons and background, and the settings that are asked for.
    maximum_depth_error_nm : of the network's PSF on this microscope.
    kind : name of the kind of network that is asked for.
    """
    if record.kind != kind:
        return [f"it is of kind {record.kind}; network: {kind} is asked for"]
    if record.psf.planes != psf.planes:
        return [f"it was made for {record.psf.planes} planes and the microscope has {psf.planes}"]
    return [
        *_scene_reasons(record.scene, scene, network_kind(kind)),
        *_registration_reasons(record, scene),
        *_psf_reasons(record, psf, scene, maximum_depth_error_nm),
        *_brightness_reasons(record.scene, scene),
    ]


def _scene_reasons(made_for: Scene, scene: Scene, kind: NetworkKind) -> Iterator[str]:
    """What the settings ask for and the network was not trained with."""
    for name in kind.fixed_scene_fields:
        have, want = getattr(made_for, name), getattr(scene, name)
        if have != want:
            yield f"it was trained with {name} {have}{_FIELD_UNITS.get(name, '')}; {want} is asked for"
    if scene.edges > 0 and not made_for.edges:
        yield "it was trained without edges of sensors, which are asked for"
    seen, wanted = made_for.density, scene.density
    covered = seen[0] <= wanted[0] and wanted[1] <= seen[1] if seen and wanted else seen == wanted
    if not covered:
        yield f"it was trained with {_emitters(made_for)}; {_emitters(scene)} is asked for"


def _registration_reasons(record: NetworkRecord, scene: Scene) -> Iterator[str]:
    """Transforms whose standard deviation matters beside the displacements of planes in training."""
    made_for = record.scene
    voxel = made_for.voxel_nm(record.psf.pixel_size_nm)[0]
    # without inter-camera drift, it is the voxel itself that hides small displacements
    drift = voxel * np.sqrt(max(made_for.drift_variance_voxels, 1 / 12))
    learned, have = (np.array(s.registration_sds_nm(record.psf.planes)) for s in (made_for, scene))
    seen = np.hypot(drift, learned)
    excess = have / np.maximum(learned, _SHARE_OF_DRIFT * seen)
    worst = int(excess.argmax())
    if excess[worst] > 1:
        yield (
            f"the transform of plane {worst + 1} has a standard deviation of {have[worst]:.1f} nm; it was trained with"
            f" displacements of {seen[worst]:.1f} nm rms"
        )


def _psf_reasons(record: NetworkRecord, psf: PSF, scene: Scene, limit_nm: float) -> Iterator[str]:
    (low, high), (lowest, highest) = record.scene.depth_range_nm, scene.depth_range_nm
    if lowest < low - limit_nm - 25 or highest > high + limit_nm + 25:
        yield f"it covers depths {low:g} to {high:g} nm; {lowest:g} to {highest:g} are needed"
    worst = worst_mistaken_depth(record, psf)
    if worst > limit_nm:
        yield (
            f"with the PSF that it was made for, depths on this microscope would be wrong by up to {worst:.0f} nm"
            f" (limit {limit_nm:g} nm)"
        )


def _brightness_reasons(made_for: Scene, scene: Scene) -> Iterator[str]:
    (low, high), (dimmest, brightest) = made_for.photons, scene.photons
    if other_brightness(made_for, scene):
        yield f"molecules have {dimmest:.0f} to {brightest:.0f} photons; it was trained with {low:.0f} to {high:.0f}"
    if scene.noise.slope > made_for.noise.slope * SHOT_NOISE_FACTOR:
        yield "EM gain or quantum efficiency make a molecule's shot noise stronger than in its training"
    if too_noisy(made_for, scene):
        have, want = pixel_noise(made_for), pixel_noise(scene)
        yield f"a pixel's noise is {want:.1f} photons; it was trained with up to {have:.1f}"


def other_brightness(made_for: Scene, scene: Scene) -> bool:
    """Return whether there are molecules much dimmer or brighter than in a network's training."""
    (low, high), (dimmest, brightest) = made_for.photons, scene.photons
    return dimmest < low / PHOTONS_FACTOR or brightest > high * PHOTONS_FACTOR


def too_noisy(made_for: Scene, scene: Scene) -> bool:
    """Return whether background or read noise are so large that a network would detect noise as molecules."""
    return pixel_noise(scene) > pixel_noise(made_for) * PIXEL_NOISE_FACTOR


def pixel_noise(scene: Scene) -> float:
    """Return the standard deviation of a pixel without molecules, photons, at the brightest background."""
    return float(np.sqrt(scene.noise.variance(scene.background[1])))


def side_by_side(record: NetworkRecord, psf: PSF, scene: Scene) -> str:
    """Return a table of a network's training beside the configuration; lines that differ are marked."""
    made_for, at_hand = _description(record.psf, record.scene), _description(psf, scene)
    heads = ("", "weights", "configuration")
    rows = [heads, *((name, made_for[name], at_hand[name]) for name in made_for)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        mark = "≠" if row is not heads and row[1] != row[2] else " "
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {mark} {cells}".rstrip())
    return "\n".join(lines)


def _description(psf: PSF, scene: Scene) -> dict[str, str]:
    low, high = scene.depth_range_nm
    gaussian = psf.gaussian
    return {
        "planes": str(psf.planes),
        "focal depths": ", ".join(f"{depth:.0f}" for depth in psf.plane_depths_nm) + " nm",
        "pixel": f"{psf.pixel_size_nm:g} nm",
        "voxels per pixel": str(scene.upsampling),
        "depth slices": f"{scene.depth_slices} of {scene.voxel_depth_nm:g} nm, {low:g} to {high:g} nm",
        "PSF": f"{psf.as_dict()['model']}, w0 {gaussian.waist_nm:.0f} nm, d {gaussian.focus_depth_nm:.0f} nm",
        "inter-camera drift": f"±{scene.inter_camera_drift_voxels} voxels",
        "interpolated planes": "yes" if scene.registration_resampling else "no",
        "emitters": _emitters(scene),
        "photons": f"{scene.photons[0]:.0f} to {scene.photons[1]:.0f}",
        "background": f"{scene.background[0]:.1f} to {scene.background[1]:.1f} photons",
        "noise of a dark pixel": f"{pixel_noise(scene):.1f} photons",
    }


def _emitters(scene: Scene) -> str:
    if scene.density is None:
        return f"{scene.emitters} per {scene.window_px}×{scene.window_px} pixels"
    fewest, most = (per_pixel * 16**2 for per_pixel in scene.density)
    return f"{fewest:.2g} to {most:.2g} per 16×16 pixels"
