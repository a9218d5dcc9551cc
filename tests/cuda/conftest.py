"""Tests in this folder run in Numba's CUDA simulator, in a process of their own.

The simulator is chosen by an environment variable before Numba is imported, so the suite runs each file here
in a child process (tests/kernels/test_cuda_simulator.py) and does not collect this folder itself. To run one
test: ``pytest tests/cuda/test_quantize_cuda.py -k name``; the variable is then set here.

With QSGD_LAB_PTX=1 the kernels are not Python but compiled code, executed as tests/ptx says; the simulator
then only does the launching.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def pytest_configure(config):
    """Choose the simulator where only files of this folder were asked for."""
    paths = [Path(arg.partition("::")[0]) for arg in config.invocation_params.args if not arg.startswith("-")]
    here = [path for path in paths if path.exists() and path.resolve().is_relative_to(HERE)]
    others = [path for path in paths if path.exists() and path not in here]
    if here and not others and "numba" not in sys.modules:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    if os.environ.get("QSGD_LAB_PTX") == "1":
        import simulated

        simulated.LAUNCHES.install()


@pytest.fixture
def launches(monkeypatch):
    """Return a list that grows by a kernel's name at each launch."""
    from numba.cuda.simulator.kernel import FakeCUDAKernel

    names, call = [], FakeCUDAKernel.__call__

    def counted(self, *args):
        if not self._device:
            names.append(self.fn.__name__)
        return call(self, *args)

    monkeypatch.setattr(FakeCUDAKernel, "__call__", counted)
    return names


def pytest_unconfigure(config):
    """End the compiling process."""
    if simulated := sys.modules.get("simulated"):
        simulated.LAUNCHES.close()


def pytest_ignore_collect(collection_path):
    """Collect nothing outside the simulator."""
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    return True if not simulated and collection_path.name.startswith("test_") else None
