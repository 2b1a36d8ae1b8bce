"""What a point of light looks like on every plane.

The paper's model (Aritake et al. 2021, Eq. 4 and 5): on the plane focused at depth d_p an emitter at (x, y, z) is a
Gaussian whose SQUARED width follows a defocus curve of Δz = d_p − z,

    w(Δz) = w0² (1 + (Δz/d)² + A (Δz/d)³ + B (Δz/d)⁴)      [nm²]

The paper's Eq. 6 prints the peak as a'/(2π w²), which does not conserve light; a'/(2π w) does, and is what is used
here. Photons are counted over all planes together: plane p receives the fraction brightness[p].
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from torch import Tensor

from planeloc import hdf5
from planeloc.errors import PlanelocError

_FORMAT = "planeloc psf 1"


@dataclass(frozen=True)
class GaussianPSF:
    """Gaussian with a defocus curve; immutable, so that it can be shared between threads and written into records."""

    pixel_size_nm: float
    plane_depths_nm: tuple[float, ...]  # focal depth of every plane
    brightness: tuple[float, ...]  # fraction of the photons on every plane, sums to 1
    waist_nm: float  # w0
    focus_depth_nm: float  # d
    asymmetry: float = 0.0  # A
    quartic: float = 0.0  # B
    pixel_integration: bool = False  # False: sampled at pixel centres, as Eq. 4; True: integrated over the pixel

    @property
    def planes(self) -> int:
        return len(self.plane_depths_nm)

    def squared_width(self, defocus_nm: Any) -> Any:
        """w(Δz) in nm² (Eq. 5), for floats, arrays or tensors."""
        u = defocus_nm / self.focus_depth_nm
        return self.waist_nm**2 * (1 + u**2 + self.asymmetry * u**3 + self.quartic * u**4)

    def expected_photons(
        self,
        x_nm: Tensor,
        y_nm: Tensor,
        z_nm: Tensor,
        photons: Tensor,
        shape: tuple[int, int],
        plane_shifts_nm: Tensor | None = None,
        origin_nm: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Expected photons of single emitters on every pixel of every plane.

        Parameters
        ----------
        x_nm, y_nm, z_nm, photons : Tensor
            Any common shape (...). Positions from the outer corner of pixel (0, 0).
        shape : (rows, columns)
            Size of the window.
        plane_shifts_nm : Tensor, optional
            (..., planes, 2): displacement (x, y) of the image on every plane, for drift and registration error.
        origin_nm : pair of Tensor, optional
            Corner (x, y) of the window, shape (...), where it is not the corner of the field.

        Returns
        -------
        Tensor of shape (..., planes, rows, columns).
        """
        depths = torch.tensor(self.plane_depths_nm, dtype=z_nm.dtype, device=z_nm.device)
        fractions = torch.tensor(self.brightness, dtype=z_nm.dtype, device=z_nm.device)
        width = self.squared_width(depths - z_nm[..., None]).sqrt()
        profiles = []
        for axis, (position, size) in enumerate(((x_nm, shape[1]), (y_nm, shape[0]))):
            if origin_nm is not None:
                position = position - origin_nm[axis]
            position = position[..., None].expand(width.shape)
            if plane_shifts_nm is not None:
                position = position + plane_shifts_nm[..., axis]
            profiles.append(self._profile(position, width, size))
        weight = photons[..., None] * fractions
        return weight[..., None, None] * profiles[1][..., :, None] * profiles[0][..., None, :]

    def _profile(self, position_nm: Tensor, width_nm: Tensor, size: int) -> Tensor:
        """Share of the light on each of `size` pixels along one axis: (...) → (..., size)."""
        pixel = self.pixel_size_nm
        centre = (torch.arange(size, dtype=position_nm.dtype, device=position_nm.device) + 0.5) * pixel
        distance = (centre - position_nm[..., None]) / width_nm[..., None]
        if not self.pixel_integration:
            return torch.exp(-0.5 * distance**2) * (pixel / math.sqrt(2 * math.pi)) / width_nm[..., None]
        half = 0.5 * pixel / width_nm[..., None]
        root2 = math.sqrt(2)
        return 0.5 * (torch.erf((distance + half) / root2) - torch.erf((distance - half) / root2))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GaussianPSF:
        tuples = {key: tuple(float(v) for v in values[key]) for key in ("plane_depths_nm", "brightness")}
        psf = cls(**{**values, **tuples})
        if len(psf.plane_depths_nm) != len(psf.brightness):
            raise ValueError("plane_depths_nm and brightness differ in length")
        return psf


def paper_psf() -> GaussianPSF:
    """The paper's microscope (Table 1 and 2): 192 nm pixels, planes 400 nm apart. B is not printed; 0 is used."""
    return GaussianPSF(
        pixel_size_nm=192.0,
        plane_depths_nm=(-600.0, -200.0, 200.0, 600.0),
        brightness=(0.25, 0.25, 0.25, 0.25),
        waist_nm=133.0,
        focus_depth_nm=302.0,
        asymmetry=7.37e-4,
    )


def write_psf(path: str | Path, psf: GaussianPSF, details: dict[str, Any] | None = None) -> None:
    """Write psf.h5: the parameters as attributes of /psf, `details` (quality, settings, measurements) as JSON."""
    with hdf5.create(path) as file:
        file.attrs["format"] = _FORMAT
        group = file.create_group("psf")
        group.attrs["model"] = "gaussian"
        group.attrs["parameters"] = json.dumps(psf.as_dict())
        group.attrs["details"] = json.dumps(details or {})


def read_psf(path: str | Path) -> GaussianPSF:
    """Read psf.h5, or raise `PlanelocError` naming the file."""
    try:
        with h5py.File(path, "r") as file:
            return GaussianPSF.from_dict(json.loads(file["psf"].attrs["parameters"]))
    except FileNotFoundError:
        raise PlanelocError(f"{path}: no such file; make it with `planeloc calibrate`") from None
    except (OSError, KeyError, TypeError, ValueError):
        raise PlanelocError(f"{path}: not a planeloc PSF; make it again with `planeloc calibrate`") from None
