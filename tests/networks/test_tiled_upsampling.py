"""The network on regions gives what it gives on the whole field."""

import pytest
import torch

from planeloc.networks.tiled_upsampling import TiledUpsamplingNetwork
from planeloc.networks.upsampling import Architecture
from planeloc.networks.weight_files import NetworkRecord
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene

FIELD = (13, 18)  # neither is a multiple of the regions
TOL_LOGIT = 2e-4  # float32, of logits of some tens
TOL_LOGIT_BFLOAT16 = 0.05  # relative to the largest


def trained(**choices):
    """A small network whose normalisations have statistics as after training, negative gains among them."""
    torch.manual_seed(1)
    scene = Scene(depth_range_nm=(-200.0, 200.0), upsampling=2 ** (len(choices.get("channels", (1, 1, 1))) - 1))
    shape = Architecture(planes=4, depth_slices=scene.depth_slices, **{"channels": (12, 8, 6), **choices})
    network = NetworkRecord(shape, paper_psf(), scene, 30.0).build().eval()
    for module in network.layers:
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(0, 1)
            module.running_var.uniform_(0.2, 2)
            module.weight.data.uniform_(-1.5, 1.5)
            module.bias.data.uniform_(-1, 1)
    return network


def by_regions(network, image, side, precision=torch.float32):
    """Logits (depth, rows, columns) of a field (planes, y, x), put together from its regions."""
    rows, columns = image.shape[1:]
    regions = TiledUpsamplingNetwork(network, side, (rows, columns), torch.device("cpu"), precision)
    margin, scale = regions.margin_px, network.architecture.upsampling
    corners = torch.tensor([(y, x) for y in range(0, rows, side) for x in range(0, columns, side)])
    padded = torch.nn.functional.pad(image, (margin, margin + side, margin, margin + side))
    size = side + 2 * margin
    windows = torch.stack([padded[:, y : y + size, x : x + size] for y, x in corners.tolist()])
    whole = torch.zeros(network.architecture.depth_slices, (rows + side) * scale, (columns + side) * scale)
    for (y, x), logits in zip((corners * scale).tolist(), regions(windows, corners), strict=True):
        whole[:, y : y + side * scale, x : x + side * scale] = logits.float().permute(2, 0, 1)
    return whole[:, : rows * scale, : columns * scale]


@pytest.mark.parametrize("side", [2, 5, 32])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"first_kernel": 5, "first_layers": 3, "upsampling_kernel": 6},
        {"upsampling_kernel": 2, "last_kernel": 1, "channels": (8, 8)},
        {"upsampling_kernel": 8, "last_kernel": 5, "channels": (8, 6, 6, 4)},
    ],
)
@torch.inference_mode()
def test_regions_are_parts_of_the_field(choices, side):
    network = trained(**choices)
    image = 100 * torch.rand(4, *FIELD)
    expected = network(image[None])[0]
    assert expected.std() > 0.1  # else nothing is tested
    assert (by_regions(network, image, side) - expected).abs().max() < TOL_LOGIT * max(1.0, expected.abs().max())


@torch.inference_mode()
def test_bfloat16_is_near():
    network = trained()
    image = 100 * torch.rand(4, *FIELD)
    expected = network(image[None])[0]
    near = by_regions(network, image, 4, torch.bfloat16)
    assert (near - expected).abs().max() < TOL_LOGIT_BFLOAT16 * expected.abs().max()


@pytest.mark.parametrize("choices", [{}, {"first_layers": 3, "first_kernel": 5, "upsampling_kernel": 6}])
def test_margin_is_the_reach_of_the_network(choices):
    """A pixel one beyond the margin changes nothing in the region; the outermost of the margin does."""
    network = trained(**choices)
    region = TiledUpsamplingNetwork(network, 4, (100, 100), torch.device("cpu"), torch.float32)
    size = 4 + 2 * region.margin_px
    dark, lit = torch.zeros(1, 4, size, size), torch.zeros(1, 4, size, size)
    lit[:, :, 0, :] = 1000.0
    corner = torch.tensor([[50, 50]])
    assert not torch.equal(region(dark, corner), region(lit, corner))
    image = torch.zeros(1, 4, 40, 40)
    still = network(image)
    image[0, :, 20 - region.margin_px - 1] = 1000.0
    scale = network.architecture.upsampling
    changed = (network(image) - still).abs().amax(dim=(0, 1, 3))
    assert changed[20 * scale :].max() == 0


def test_a_silent_channel_is_no_division_by_zero():
    network = trained()
    norm = next(m for m in network.layers if isinstance(m, torch.nn.BatchNorm2d))
    norm.weight.data[0] = 0.0
    image = 100 * torch.rand(4, *FIELD)
    with torch.inference_mode():
        expected = network(image[None])[0]
        assert (by_regions(network, image, 4) - expected).abs().max() < 10 * TOL_LOGIT * expected.abs().max()


def test_operations_are_counted():
    """Without margins, a pixel costs what its layers' weights say."""
    network = trained()  # 4 planes; 12, 8, 6 channels; kernels 9, 4, 4, 3; 8 slices
    per_pixel = 81 * 4 * 12 + 4 * (4 * 12 * 8) + 16 * (4 * 8 * 6) + 16 * (9 * 6 * 8)
    region = TiledUpsamplingNetwork(network, 400, (400, 400), torch.device("cpu"), torch.float32)
    assert region.operations == pytest.approx(400**2 * per_pixel, rel=0.02)
    assert region.operations > 400**2 * per_pixel
