"""Groups of two, four and eight processes for all tests of a session, of one pool."""

from __future__ import annotations

import pytest
import torch
from ranks import Processes, Ranks


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Return the pool of which all groups are."""
    pool = Processes(tmp_path_factory.mktemp("ranks"))
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def two_ranks(processes):
    """Return a group of 2 processes."""
    return Ranks(2, processes)


@pytest.fixture(scope="session")
def four_ranks(processes):
    """Return a group of 4 processes."""
    return Ranks(4, processes)


@pytest.fixture(scope="session")
def eight_ranks(processes):
    """Return a group of 8 processes."""
    return Ranks(8, processes)


@pytest.fixture(autouse=True)
def one_thread():
    """Compute gradients here as the ranks do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
