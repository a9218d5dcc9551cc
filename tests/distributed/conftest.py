"""Groups of two and four processes for all tests of a session."""

from __future__ import annotations

import pytest
from ranks import Ranks


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Return a group of 2 processes."""
    ranks = Ranks(2, tmp_path_factory.mktemp("two"))
    yield ranks
    ranks.close()


@pytest.fixture(scope="session")
def four_ranks(tmp_path_factory):
    """Return a group of 4 processes."""
    ranks = Ranks(4, tmp_path_factory.mktemp("four"))
    yield ranks
    ranks.close()
