"""The kernels on a device, where there is one: a little of what `make gpu-check` compares."""

from __future__ import annotations

import pytest

from qsgd_lab.gpu_check.cases import Scope, run_check
from qsgd_lab.gpu_check.checks import CHECKS
from qsgd_lab.kernels.cuda.device import SIMULATED, has_device

SCOPE = Scope(sizes=(1, 513, 100_003), large=2**20 + 77, repeats=10, levels=(1, 3, 7, 100, 127, 200))


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[name for name, _ in CHECKS])
def test_the_device_gives_the_bits_of_the_cpu(name, check):
    """Each check finds the device's arrays equal to the CPU's, byte for byte, under every launch shape."""
    if SIMULATED or not has_device():
        pytest.skip("no CUDA device")
    assert run_check(name, check, SCOPE).failure is None
