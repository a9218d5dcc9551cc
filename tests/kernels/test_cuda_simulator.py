"""The CUDA kernels in Numba's simulator: each file of tests/cuda in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import checkout
import pytest

FILES = sorted(path.name for path in (checkout.ROOT / "tests" / "cuda").glob("test_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_in_the_simulator(name):
    """Every test of the file holds where each CUDA thread is a Python thread."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/cuda/{name}"],
        cwd=checkout.ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_simulated_tests():
    """The folder of simulated tests is not empty."""
    assert FILES
