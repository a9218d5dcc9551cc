"""How many examples a test of the CUDA kernels tries: few where each thread is a Python thread."""

from __future__ import annotations

import os

#: Whether kernels run as compiled code: see tests/ptx.
IS_COMPILED = os.environ.get("QSGD_LAB_PTX") == "1"


def examples(number: int) -> int:
    """Return `number` for compiled kernels, and a sixth of it, at least 2, in the simulator.

    The laws are the same: compiled code is what a device runs; the simulator shows that the plain Python
    twins of operations say the same.
    """
    return number if IS_COMPILED else max(2, number // 6)
