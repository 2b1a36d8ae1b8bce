"""What holds for all tests of the reproduction, and the made-up results that several of them read."""

import pytest
import torch
from paper_results import write_results

# As in the commands of the workflow: threads that wait for each other cost more than they bring to small arrays.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Every result file of the experiments, made up; only read."""
    path = tmp_path_factory.mktemp("paper")
    write_results(path)
    return path
