"""The CUDA kernels in Numba's simulator: files of tests/cuda, each in a process of its own.

Where compiled kernels can be executed, tests/ptx runs every file with them, in less time; the simulator then
runs those that show that operations and their plain Python twins agree.
"""

from __future__ import annotations

import os
import subprocess
import sys

import checkout
import executor
import pytest

from qsgd_lab.kernels.cuda.toolkit import toolkit

ALL_FILES = sorted(path.name for path in (checkout.ROOT / "tests" / "cuda").glob("test_*.py"))
OF_TWINS = ["test_dense_chunks_cuda.py", "test_pack_cuda.py", "test_quantize_cuda.py"]
IS_EXECUTED = toolkit() is not None and executor.why_not() is None
FILES = OF_TWINS if IS_EXECUTED else ALL_FILES


@pytest.mark.parametrize("name", FILES)
def test_in_the_simulator(name):
    """Every test of the file holds where each CUDA thread is a Python thread."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/cuda/{name}"],
        cwd=checkout.ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "QSGD_LAB_PTX": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_simulated_tests():
    """The files that the simulator always runs are there."""
    assert set(OF_TWINS) < set(ALL_FILES)
