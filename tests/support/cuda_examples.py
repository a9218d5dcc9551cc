"""How many examples a test of the CUDA kernels tries: few where each thread is a Python thread."""

from __future__ import annotations

import os

#: Whether kernels run as compiled code: see tests/ptx.
IS_COMPILED = os.environ.get("QSGD_LAB_PTX") == "1"


def examples(number: int) -> int:
    """Return half of `number` for compiled kernels, and a twelfth in the simulator, at least 2.

    The laws are the same: compiled code is what a device runs; the simulator shows that the plain Python
    twins of operations say the same.
    """
    return max(2, number // 2 if IS_COMPILED else number // 12)
