"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from checkout import Checkout

# As in the commands of the workflow: threads that wait for each other cost more than they bring to small arrays.
torch.set_num_threads(1)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    from checkout import Checkout  # which needs Snakemake's checks of configurations; most tests do not

    return Checkout(tmp_path)


@pytest.fixture
def own_data(checkout: Checkout) -> Checkout:
    checkout.write_own_data()
    return checkout
