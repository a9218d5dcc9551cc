"""What tests need: the package, the oracles by name, Hypothesis' settings, and peace between workers."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent

# With the checkout on sys.path, ./qsgd_lab would shadow an installed wheel.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
# The oracles and what tests share are imported by their names.
sys.path[:0] = [str(TESTS / name) for name in ("oracles", "support", "ptx")]

from forked import ForkedContext  # noqa: E402
from registered import take_back  # noqa: E402

# Compiling a kernel in the middle of an example is slow, not wrong: no deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Tests side by side: a thread each, for them and for the processes that they start, as more would only wait
# for one another. Read by the libraries when they are first imported.
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# A shell that starts the tests in the background (`make test &`) leaves SIGINT ignored in them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Let the garbage collector leave alone what imports made: it stays, and searching it takes time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_registered_stays():
    """Take back what a test's plug-ins register in this process: other tests go through the registries."""
    yield
    take_back()


@pytest.fixture
def forked_workers(monkeypatch):
    """Let sweeps of this process fork their workers: tests/cli/test_reproduce.py starts them as users do."""
    monkeypatch.setattr("qsgd_lab.runs.pool.multiprocessing.get_context", lambda _: ForkedContext)
