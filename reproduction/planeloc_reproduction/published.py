"""What the paper prints and we compare with, each value with its place in the paper.

T. Aritake, H. Hino, S. Namiki, D. Asanuma, K. Hirose, N. Murata, "Fast and robust multiplane single-molecule
localization microscopy using a deep neural network", Neurocomputing (2021).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A printed number, its unit and where it stands."""

    value: float
    unit: str
    place: str


TRAINING_IMAGES = Published(90_000 * 30, "images", "section 4.2: 90,000 images, 30 epochs")
BATCH = Published(100, "images", "section 4.2")
LEARNING_RATE = Published(1.0e-3, "", "section 4.2, initial")
TEST_IMAGES = Published(500, "images", "section 4.2")

VOXEL_NM = (24.0, 24.0, 50.0)
"""Width (x, y, z) of a voxel of the result, Table 2."""
LARGEST_DRIFT = Published(2 * VOXEL_NM[0], "nm", "section 3.2: ±2 voxels per plane and axis")
MOLECULES = Published(3, "molecules per 16 × 16 image", "Table 2")

NETWORK_LATERAL = Published(16.7, "nm", "Table 3, CNN")
NETWORK_AXIAL = Published(8.90, "nm", "Table 3, CNN")
NETWORK_SPEED = Published(125.0, "frames/s", "Table 3, CNN, 16 × 16 × 4 on a V100")
SENSING_LATERAL = Published(57.6, "nm", "Table 3, compressed sensing")
SENSING_AXIAL = Published(0.400, "nm", "Table 3, compressed sensing")
SENSING_SPEED = Published(0.129, "frames/s", "Table 3, compressed sensing")
ALTERNATING_SPEED = Published(1.45e-3, "frames/s", "section 4.2, Eq. 9 by alternating minimisation, 16 × 16 × 4")

LATERAL_ERROR: dict[str, Published] = {"robust": NETWORK_LATERAL, "compressed_sensing": SENSING_LATERAL}
AXIAL_ERROR: dict[str, Published] = {"robust": NETWORK_AXIAL, "compressed_sensing": SENSING_AXIAL}
SPEED: dict[str, Published] = {
    "robust": NETWORK_SPEED,
    "compressed_sensing": SENSING_SPEED,
    "alternating": ALTERNATING_SPEED,
}
"""Table 3 and section 4.2 by estimator."""

SPEED_SIZE_PX = 16
CAMERA_SPEED = Published(22.0, "frames/s", "section 4.1")
FRAME_SIZE_PX = 256
"""Side of the microscope's frames, section 4.3."""

MOST_MOLECULES = 0.5
"""Fig. 7, in words: the robust network "localizes most of the molecules correctly"."""

HELIX_FRAMES = Published(300, "frames", "Fig. 9")
HELIX_THRESHOLD = Published(0.1, "", "Fig. 9")
STRUCTURE_THRESHOLD = Published(0.05, "", "section 4.3")
STRUCTURE_LATERAL = Published(20.0, "nm", "abstract")
STRUCTURE_AXIAL = Published(50.0, "nm", "abstract")
