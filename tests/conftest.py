"""What holds for all tests."""

from pathlib import Path

import pytest
import torch
from checkout import Checkout

# As in the commands of the workflow: threads that wait for each other cost more than they bring to small arrays.
torch.set_num_threads(1)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def own_data(checkout: Checkout) -> Checkout:
    checkout.write_own_data()
    return checkout
