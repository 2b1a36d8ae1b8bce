"""Test images: molecules whose places are known, on planes that have drifted, with the paper's noise.

Training uses `scenes.scene.draw_batch`; here each image may hold another number of molecules, drift by
any amount, or come from another microscope than the one that the estimators assume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.psf import GaussianPSF
from planeloc.scenes.draw import add_noise, draw_drift, expected_images, voxel_of
from planeloc.scenes.scene import PAPER_PHOTONS, Scene, paper_scene
from planeloc_reproduction.names import DATA_SETS

# A spot of this waist and depth of focus, integrated over pixels, is as wide as the paper's at the pixels' centres:
# 121² + 192²/12 = 133², and the same at every defocus, since the integral adds one constant to the squared width.
_WAIST_NM, _FOCUS_DEPTH_NM = 121.0, 275.0
Places = Callable[[tuple[int, ...], torch.Generator], Tensor]  # shape, random numbers → (*shape, 3) as x, y, z (nm)

_ROOT_THREE = math.sqrt(3.0)
_AT_ONCE = 500  # images: bounds the memory


@dataclass(frozen=True)
class Recipe:
    """How test images are made; the defaults are the paper's: Table 2 with one molecule."""

    molecules: float = 1.0  # per image: a whole number, or with `poisson` their mean
    poisson: bool = False
    photons: tuple[float, float] = PAPER_PHOTONS  # uniform, summed over all planes
    largest_drift_nm: float | None = None  # per plane and axis: uniform in ±this; None: the scene's whole voxels
    voxel_centres: bool = False  # molecules in the middle of their voxels
    integrated_pixels: bool = False  # pixels integrate photons over their area, not from their centre
    shot_noise: bool = True  # of the molecules' photons; False: only the background's, the same on every pixel


@dataclass(frozen=True)
class TestImages:
    """Images and the molecules on them, one row per molecule."""

    __test__ = False  # not a class of tests, whatever its name

    images: Tensor  # (n, planes, rows, columns), photons above the background
    background: float  # photons per pixel, known
    image: Tensor  # (m,) the image that a molecule is on; ascending
    position_nm: Tensor  # (m, 3) x, y, z; float64
    voxel: Tensor  # (m, 3) depth slice, row, column
    photons: Tensor  # (m,) of all planes
    shifts_nm: Tensor  # (n, planes, 2)

    @property
    def counts(self) -> list[int]:
        """Molecules on every image."""
        return torch.bincount(self.image, minlength=len(self.images)).tolist()


def recipe_of(data: str) -> Recipe:
    """The recipe of a data set with one molecule per image.

    ``paper``: the paper's test. ``voxel_centres``: the same with every molecule in the middle of a voxel.
    ``additive_noise``: and with noise that does not grow with the signal, another reading of Table 2 (README.md).
    ``camera``: another forward model than the one that is fitted: pixels integrate, and the drift is no whole number of
    voxels, but of the same variance.
    """
    if data == "paper":
        return Recipe()
    if data == "voxel_centres":
        return Recipe(voxel_centres=True)
    if data == "additive_noise":
        return Recipe(voxel_centres=True, shot_noise=False)
    if data == "camera":
        psf, scene = paper_scene()
        return Recipe(integrated_pixels=True, largest_drift_nm=_ROOT_THREE * scene.drift_sd_nm(psf.pixel_size_nm))
    raise PlanelocError(f"no data set {data!r}; known are {', '.join(DATA_SETS)}")


def anywhere(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(*shape, 3) places, uniform over the paper's target space."""
    psf, scene = paper_scene()
    extent_nm = scene.window_px * psf.pixel_size_nm
    axes = ((0.0, extent_nm), (0.0, extent_nm), scene.depth_range_nm)
    return torch.stack([_uniform(shape, interval, generator) for interval in axes], dim=-1)


def draw_images(recipe: Recipe, count: int, seed: int, places: Places = anywhere) -> TestImages:
    """`count` images, named by recipe and seed, with molecules at `places`.

    Images are drawn in batches, so that memory does not grow with their number beyond what they take themselves.
    """
    psf, scene = paper_scene()
    seeing = (
        replace(psf, waist_nm=_WAIST_NM, focus_depth_nm=_FOCUS_DEPTH_NM, pixel_integration=True)
        if recipe.integrated_pixels
        else psf
    )
    generator = torch.Generator().manual_seed(seed)
    parts = [
        _draw(recipe, places, seeing, scene, first, min(_AT_ONCE, count - first), generator)
        for first in range(0, count, _AT_ONCE)
    ]
    return TestImages(
        images=torch.cat([p.images for p in parts]),
        background=scene.background[0],
        **{
            name: torch.cat([getattr(p, name) for p in parts])
            for name in ("image", "position_nm", "voxel", "photons", "shifts_nm")
        },
    )


def _draw(
    recipe: Recipe,
    places: Places,
    psf: GaussianPSF,
    scene: Scene,
    first: int,
    size: int,
    generator: torch.Generator,
) -> TestImages:
    molecules = torch.full((size,), recipe.molecules)
    if recipe.poisson:
        molecules = torch.poisson(molecules, generator=generator)
    present = torch.arange(int(molecules.max()))[None] < molecules[:, None]
    photons = _uniform(present.shape, recipe.photons, generator) * present
    position = places(tuple(present.shape), generator)
    if recipe.voxel_centres:
        position = centre_of(voxel_of(position, psf.pixel_size_nm, scene), psf.pixel_size_nm, scene)
    if recipe.largest_drift_nm is None:
        shifts = draw_drift(psf, scene, size, generator)
    else:
        largest = recipe.largest_drift_nm
        shifts = _uniform((size, psf.planes, 2), (-largest, largest), generator)
        shifts[:, 0] = 0
    light = expected_images(psf, scene, position, photons, shifts)
    background = scene.background[0]
    if recipe.shot_noise:
        images = add_noise(light + background, scene, generator) - background
    else:
        images = light + add_noise(torch.full_like(light, background), scene, generator) - background
    image, number = present.nonzero(as_tuple=True)
    positions = position[image, number]
    return TestImages(
        images=images,
        background=background,
        image=image + first,
        position_nm=positions.double(),
        voxel=voxel_of(positions, psf.pixel_size_nm, scene),
        photons=photons[image, number],
        shifts_nm=shifts,
    )


def centre_of(voxel: Tensor, pixel_size_nm: float, scene: Scene) -> Tensor:
    """(..., 3) depth slice, row, column → x, y, z (nm) of the voxel's middle; the reverse of `voxel_of`."""
    x_nm, y_nm, z_nm = scene.voxel_nm(pixel_size_nm)
    depth, row, column = (voxel[..., axis] + 0.5 for axis in range(3))
    return torch.stack((column * x_nm, row * y_nm, scene.depth_range_nm[0] + depth * z_nm), dim=-1)


def rounded(position_nm: Tensor) -> list[list[float]]:
    """Positions (n, 3) for a result file, to a picometre."""
    return [[round(value, 3) for value in row] for row in position_nm.tolist()]


def _uniform(shape: tuple[int, ...], interval: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = interval
    return torch.rand(shape, generator=generator) * (high - low) + low
