"""The observation matrix Ĥ of the paper (Eq. 8 and 10), applied without being written down.

Column j of Ĥ holds the images of ONE PHOTON, counted over all planes together, of a molecule at the centre of voxel j,
so weights c are a molecule's photons. (The paper's c is this number over 5.425e3: its a' puts 1,356 counts on each of
four planes.) Written down, Ĥ has 1,024 × 524,288 entries for the paper's 16×16 pixels, 4 GiB in float64. But a Gaussian
is a product of its profiles along x and y, so for plane p and depth slice z

    Ĥ_p c = Σ_z Y_pzᵀ c_z X_pz

with c_z (rows, columns) of voxels, Y_pz (rows of voxels, rows of pixels) and X_pz (columns of voxels, columns of
pixels): 4 MiB in all, and products of small matrices. A plane that drifts only changes its own X_pz and Y_pz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from planeloc.core.errors import PlanelocError
from planeloc.psf import PSF, GaussianPSF
from planeloc.scenes.scene import Scene

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Molecules:
    """Molecules found in a batch of images, one entry each, ordered by image and then by falling photons."""

    image: Indices  # (n,) index in the batch
    voxel: Indices  # (n, 3) depth slice, row, column of the voxel that holds the position
    heaviest: Indices  # (n, 3) the voxel of largest weight among those that were taken together
    position_nm: Array  # (n, 3) x, y, z from the outer corner of pixel (0, 0)
    photons: Array  # (n,) of all planes

    @classmethod
    def joined(cls, parts: Sequence[Molecules]) -> Molecules:
        """One batch from one `Molecules` per image."""
        image = np.repeat(np.arange(len(parts)), [len(part.photons) for part in parts])
        none = np.zeros((0, 3))
        nothing = cls(image[:0], none.astype(np.int64), none.astype(np.int64), none, none[:, 0])
        names = ("voxel", "heaviest", "position_nm", "photons")
        return cls(image, *(np.concatenate([getattr(part, name) for part in (nothing, *parts)]) for name in names))


@dataclass(frozen=True, eq=False)
class Observation:
    """Ĥ for one position of the planes."""

    psf: GaussianPSF
    scene: Scene
    shifts_nm: Array  # (planes, 2) displacement (x, y) of the image on every plane
    y_profiles: Array  # (planes, depth slices, rows of voxels, rows of pixels), times the plane's brightness
    x_profiles: Array  # (planes, depth slices, columns of voxels, columns of pixels)

    @classmethod
    def of(cls, psf: PSF, scene: Scene, shifts_nm: ArrayLike | None = None) -> Observation:
        """Build the operator.

        Parameters
        ----------
        psf : must be Gaussian. Raises `PlanelocError` for a measured one, which is no product of profiles.
        scene : size of the window and of the voxels.
        shifts_nm : (planes, 2), as `plane_shifts_nm` of `PSF.expected_photons`; no shifts if left out.
        """
        if not isinstance(psf, GaussianPSF):
            raise PlanelocError(
                f"compressed sensing needs a Gaussian point spread function, not {type(psf).__name__}: "
                "use the closest one, `psf.gaussian`"
            )
        shifts = np.zeros((psf.planes, 2)) if shifts_nm is None else np.asarray(shifts_nm, dtype=np.float64)
        if shifts.shape != (psf.planes, 2) or not np.isfinite(shifts).all():
            raise PlanelocError(
                f"shifts of the planes: {psf.planes} pairs (x, y) of finite numbers are needed, not {shifts.tolist()}"
            )
        along_x, along_y = (
            np.stack([_profiles(psf, scene, plane, float(shift)) for plane, shift in enumerate(shifts[:, axis])])
            for axis in (0, 1)
        )
        return cls(psf, scene, shifts, np.asarray(psf.brightness)[:, None, None, None] * along_y, along_x)

    def drifted(self, drift_voxels: ArrayLike) -> Observation:
        """Ĥ(Δ') of Eq. 10: the planes displaced by whole voxels (planes, 2) along (x, y), and by nothing else."""
        return Observation.of(self.psf, self.scene, np.asarray(drift_voxels) * self.voxel_nm[1:][::-1])

    @property
    def voxel_nm(self) -> Array:
        """Size of a voxel along depth, row, column."""
        return np.array(self.scene.voxel_nm(self.psf.pixel_size_nm))[::-1]

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels: (depth slices, rows, columns)."""
        return self.scene.depth_slices, self.y_profiles.shape[2], self.x_profiles.shape[2]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(planes, rows, columns)."""
        return self.psf.planes, self.scene.window_px, self.scene.window_px

    def apply(self, weights: Array) -> Array:
        """Ĥc: photons (depth slices, rows, columns) of the voxels → images (planes, rows, columns)."""
        return np.sum(self.y_profiles.transpose(0, 1, 3, 2) @ weights @ self.x_profiles, axis=1)

    def adjoint(self, images: Array) -> Array:
        """Ĥᵀy: images (planes, rows, columns) → (depth slices, rows, columns)."""
        depths, _, columns = self.grid
        along_x = images[:, None] @ self.x_profiles.transpose(0, 1, 3, 2)
        return self._stacked_y @ along_x.transpose(1, 0, 2, 3).reshape(depths, -1, columns)

    def columns(self, voxels: Indices) -> Array:
        """Columns of Ĥ for voxels (k, 3), as rows of the result: (k, planes · rows · columns)."""
        depth, row, column = np.asarray(voxels).reshape(-1, 3).T
        along_y = self.y_profiles[:, depth, row].transpose(1, 0, 2)
        along_x = self.x_profiles[:, depth, column].transpose(1, 0, 2)
        return (along_y[..., None] * along_x[..., None, :]).reshape(len(depth), np.prod(self.image_shape))

    @cached_property
    def norms(self) -> Array:
        """‖h_j‖ of every column, (depth slices, rows, columns)."""
        along_y, along_x = (np.sum(profiles**2, axis=3) for profiles in (self.y_profiles, self.x_profiles))
        return np.sqrt(along_y.transpose(1, 2, 0) @ along_x.transpose(1, 0, 2))

    @cached_property
    def single(self) -> Observation:
        """The same in single precision: twice as fast, and enough to tell which voxel explains most."""
        y_profiles, x_profiles = (profiles.astype(np.float32) for profiles in (self.y_profiles, self.x_profiles))
        return replace(self, y_profiles=y_profiles, x_profiles=x_profiles)

    @cached_property
    def _stacked_y(self) -> Array:
        """(depth slices, rows of voxels, planes · rows of pixels): one product sums over the planes."""
        depths, rows, _ = self.grid
        return np.ascontiguousarray(self.y_profiles.transpose(1, 2, 0, 3)).reshape(depths, rows, -1)

    def positions_nm(self, voxels: ArrayLike) -> Array:
        """(k, 3) voxels, whole or between → (x, y, z) of their centres."""
        first = np.array((self.scene.depth_range_nm[0], 0.0, 0.0))
        centres = first + (np.asarray(voxels, dtype=np.float64).reshape(-1, 3) + 0.5) * self.voxel_nm
        return centres[:, [2, 1, 0]]

    def molecules(self, place: Array, heaviest: Indices, photons: Array) -> Molecules:
        """Of one image, at `place` (k, 3), voxels whole or between."""
        voxel = np.floor(place + 0.5).astype(np.int64)
        return Molecules(np.zeros(len(place), dtype=np.int64), voxel, heaviest, self.positions_nm(place), photons)


@lru_cache(maxsize=128)  # half a megabyte each on the paper's grid; whole-voxel drifts come again and again
def _profiles(psf: GaussianPSF, scene: Scene, plane: int, shift_nm: float) -> Array:
    """(depth slices, voxels, pixels) profile on one plane along x or y of the voxels' centres, moved by `shift_nm`."""
    lateral, _, height = scene.voxel_nm(psf.pixel_size_nm)
    depth = scene.depth_range_nm[0] + (torch.arange(scene.depth_slices, dtype=torch.float64) + 0.5) * height
    place = (torch.arange(scene.window_px * scene.upsampling, dtype=torch.float64) + 0.5) * lateral + shift_nm
    defocus = psf.plane_depths_nm[plane] - depth[:, None]
    return psf.profile(place.expand(len(depth), -1), defocus, scene.window_px).numpy()


def noise_variance(scene: Scene) -> float:
    """Of a pixel that sees background alone, photons²."""
    return float(scene.noise.variance(sum(scene.background) / 2))


def checked_images(images: Tensor | ArrayLike, psf: PSF, scene: Scene) -> Array:
    """(n, planes, rows, columns) in float64; raises `PlanelocError` for what does not fit the microscope and scene."""
    values = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    expected = (psf.planes, scene.window_px, scene.window_px)
    if values.ndim != 4 or values.shape[1:] != expected:
        raise PlanelocError(
            f"images of shape {values.shape} do not fit {psf.planes} planes and a window of {scene.window_px} pixels: "
            f"(images, planes, rows, columns) = (n, {', '.join(map(str, expected))}) is needed"
        )
    if not np.isfinite(values).all():
        raise PlanelocError("images hold values that are not finite: mask or replace dead pixels first")
    return values.astype(np.float64)


def molecules_per_image(molecules: Sequence[int] | int, images: int) -> list[int]:
    """K of every image; raises `PlanelocError` unless there is one K ≥ 1 for each."""
    counts = [molecules] * images if isinstance(molecules, int | np.integer) else list(molecules)
    if len(counts) != images or any(int(count) != count or count < 1 for count in counts):
        raise PlanelocError(
            f"molecules: a whole number of at least 1, or one for each of {images} images, is needed, not {molecules!r}"
        )
    return [int(count) for count in counts]
