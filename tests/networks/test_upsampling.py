"""The paper's network: shape, loss, reach, files."""

import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks.upsampling import Architecture, voxel_cross_entropy
from planeloc.networks.weight_files import NetworkRecord, load_network, save_network
from planeloc.psf import paper_psf
from planeloc.scenes.scene import Scene


def small_record(**scene):
    return NetworkRecord(Architecture(4, 32, (16, 8, 8, 8)), paper_psf(), Scene(**scene), 100.0)


def test_output_is_the_voxel_grid():
    network = small_record().build().eval()
    assert network(torch.zeros(2, 4, 16, 20)).shape == (2, 32, 128, 160)


def test_loss_is_the_dense_cross_entropy():
    logits = torch.randn(3, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    voxels = torch.stack([torch.randint(0, n, (3, 2)) for n in (5, 8, 8)], dim=-1)
    voxels[0, 1] = voxels[0, 0]  # two emitters in one voxel count once (Eq. 11)
    target = torch.zeros(3, 5, 8, 8, dtype=torch.float64)
    for image in range(3):
        for d, r, c in voxels[image]:
            target[image, d, r, c] = 1
    dense = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / 3
    (expected,) = torch.autograd.grad(dense, logits)
    loss = voxel_cross_entropy(logits, voxels)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(dense.item(), rel=1e-5)
    assert torch.allclose(gradient, expected)


def test_round_trip(tmp_path):
    torch.manual_seed(0)
    record = small_record(photons=(10.0, 20.0))
    network = record.build().eval()
    save_network(tmp_path / "w.safetensors", network, record)
    loaded, read = load_network(tmp_path / "w.safetensors")
    assert read == record
    image = torch.rand(1, 4, 16, 16)
    assert torch.equal(loaded(image), network(image))


def test_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    record = small_record()
    save_network(path, record.build(), record)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PlanelocError, match=r"w\.safetensors: damaged"):
        load_network(path)
    with pytest.raises(PlanelocError, match="no such weight file"):
        load_network(tmp_path / "absent.safetensors")
