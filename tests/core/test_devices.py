"""Precision is chosen by what the processor can do."""

import pytest
import torch

from planeloc.core.devices import choose_precision


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True, "amx_tile": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_tile": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_tile": False, "avx2": True}, torch.float32),
        ({"architecture": "arm64", "bf16": True}, torch.float32),
    ],
)
def test_bfloat16_is_chosen_only_where_a_processor_multiplies_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", torch.device("cpu")) == precision


def test_pytorch_that_does_not_tell_the_processor_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
