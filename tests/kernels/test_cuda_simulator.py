"""The CUDA kernels in Numba's simulator: files of tests/cuda, in a process where the simulator is on.

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
OF_TWINS = [
    *("test_dense_chunks_cuda.py", "test_pack_cuda.py", "test_quantize_cuda.py"),
]
IS_EXECUTED = toolkit() is not None and executor.why_not() is None
#: What runs in one process: starting one takes seconds.
GROUPS = [OF_TWINS] if IS_EXECUTED else [[name] for name in ALL_FILES]


@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_in_the_simulator(names):
    """Every test of the files holds where each CUDA thread is a Python thread."""
    files = [f"tests/cuda/{name}" for name in names]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
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
