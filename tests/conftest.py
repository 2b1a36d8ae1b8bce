"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from planeloc.core import messages

if TYPE_CHECKING:
    from support.checkout import Checkout

pytest.register_assert_rewrite("support")

# As in the commands of the workflow: threads that wait for each other cost more than they bring to small arrays.
torch.set_num_threads(1)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    from support.checkout import Checkout  # which needs Snakemake's checks of configurations; most tests do not

    return Checkout(tmp_path)


@pytest.fixture
def own_data(checkout: Checkout) -> Checkout:
    checkout.write_own_data()
    return checkout


@pytest.fixture(autouse=True)
def _messages_are_shown() -> Iterator[None]:
    """As on the command line; a library is quiet (tests/core/test_messages.py)."""
    messages.show()
    yield
    messages.hide()
