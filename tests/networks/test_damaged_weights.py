"""Weights that are damaged or useless end in one line, whatever is wrong with them; equal ones are equal files."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from planeloc.core.errors import PlanelocError
from planeloc.networks import self_test, weight_files
from planeloc.networks.weight_files import load_network, load_tensors, save_network
from support.repository import QUADPLANE_WEIGHTS, REGRESSION_WEIGHTS, REPOSITORY

SHIPPED = sorted((REPOSITORY / "resources").glob("*.safetensors"))


@pytest.fixture(params=[REGRESSION_WEIGHTS, QUADPLANE_WEIGHTS], ids=["regression", "upsampling"])
def weights(request):
    return load_network(request.param)


def one_line(path, test=True):
    with pytest.raises(PlanelocError) as error:
        load_network(path, test=test)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_have_a_checksum_and_pass_their_self_test(path):
    names = load_tensors(path)[0]
    assert {"self_test.images", "self_test.expected"} <= set(names)
    assert b'"sha256":"' in path.read_bytes()[:100_000]
    load_network(path, test=True)


def test_every_flipped_bit_is_found(tmp_path):
    """Anywhere: in a weight, in the record, in the self-test, in the header."""
    sound = REGRESSION_WEIGHTS.read_bytes()
    header = int.from_bytes(sound[:8], "little")
    random = np.random.default_rng(3)
    places = [*random.integers(0, 8 + header, 30), *random.integers(8 + header, len(sound), 50), 0, len(sound) - 1]
    path = tmp_path / "w.safetensors"
    for place in map(int, places):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        one_line(path, test=False)


def test_zeros_and_values_that_are_not_finite_are_not_written(tmp_path, weights):
    network, record = weights
    for value in (0.0, float("nan")):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(value)
        with pytest.raises(PlanelocError, match="the network tells no image from another; train it again"):
            save_network(tmp_path / "w.safetensors", network, record)
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_are_not_read(tmp_path, weights, monkeypatch):
    """Also where the checksum is right."""
    network, record = weights
    monkeypatch.setattr(self_test, "recorded", lambda *_: {})
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = float("inf")
    save_network(tmp_path / "w.safetensors", network, record)
    assert "not finite" in one_line(tmp_path / "w.safetensors", test=False)


def test_a_network_that_computes_something_else_is_found(tmp_path, weights):
    network, record = weights
    path = tmp_path / "w.safetensors"
    save_network(path, network, record)
    tensors, values = load_tensors(path)
    name = max((name for name in tensors if name in dict(network.named_parameters())), key=lambda n: tensors[n].numel())
    tensors[name] = tensors[name] * 1.1
    weight_files.save_tensors(path, tensors, values)  # the checksum is right
    load_network(path)
    assert "fails its self-test" in one_line(path)
    tensors["self_test.expected"] = tensors["self_test.expected"][:5].clone()
    weight_files.save_tensors(path, tensors, values)
    assert "its self-test is damaged" in one_line(path)


def test_the_self_test_holds_with_other_numbers_of_threads(weights):
    network, record = weights
    stored = self_test.recorded(network, record, "w")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        self_test.run(network, stored, "w")
    finally:
        torch.set_num_threads(before)


def test_equal_weights_are_equal_files_in_every_process(tmp_path):
    code = "import sys\nfrom planeloc.networks.weight_files import load_network, save_network\n"
    code += "save_network(sys.argv[2], *load_network(sys.argv[1]))"
    written = set()
    for number in range(3):  # the library's order changes from call to call
        path = tmp_path / f"{number}.safetensors"
        subprocess.run([sys.executable, "-c", code, str(REGRESSION_WEIGHTS), str(path)], check=True)
        written.add(path.read_bytes())
    for number in range(8):
        save_network(tmp_path / f"again{number}.safetensors", *load_network(REGRESSION_WEIGHTS))
        written.add((tmp_path / f"again{number}.safetensors").read_bytes())
    assert len(written) == 1


def test_weights_of_earlier_versions_are_read_and_get_both(tmp_path, weights):
    """Without checksum and self-test; a command adds them without a training."""
    from safetensors.torch import save_file

    network, record = weights
    arrays = {f"psf.{name}": array for name, array in record.psf.arrays.items()}
    path = tmp_path / "old.safetensors"
    metadata = {"format": "planeloc network 1", "record": json.dumps(record.as_dict())}
    save_file({**network.state_dict(), **arrays}, path, metadata=metadata)
    load_network(path, test=True)
    self_test.main([str(path)])
    assert "self_test.expected" in load_tensors(path)[0]
    again, same = load_network(path, test=True)
    assert same.as_dict() == record.as_dict()
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), network.state_dict().values(), strict=True)
    )
