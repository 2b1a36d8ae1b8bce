"""Which settings need no cluster, and what is left behind."""

import pytest
import torch

from planeloc.localization import this_process
from planeloc.localization.settings import ClusterSettings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"workers": 1}, True),
        ({"workers": 2}, False),
        ({"workers": 1, "cluster": "slurm"}, False),
        ({"workers": 1, "cluster": "cuda"}, False),
        ({"workers": 1, "scheduler": "tls://host:8786"}, False),
        ({"workers": 1, "dashboard": True}, False),
    ],
)
def test_only_one_worker_on_a_cpu_needs_no_cluster(settings, expected):
    assert this_process.suffices(ClusterSettings(**settings), "cpu") == expected


def test_one_core_is_one_worker(monkeypatch):
    monkeypatch.setattr(this_process.os, "sched_getaffinity", lambda _: {0})
    assert this_process.suffices(ClusterSettings(), "cpu")


def test_a_gpu_keeps_its_worker(monkeypatch):
    monkeypatch.setattr(this_process, "choose_device", lambda _: torch.device("cuda"))
    assert not this_process.suffices(ClusterSettings(workers=1), "auto")


def test_pytorch_has_its_threads_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with this_process.connect():
            torch.set_num_threads(1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
