"""The scale of a block of integers, as both backends store it."""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.jit import njit


@njit(cache=True, fastmath=False, forceinline=True)
def stored_scale(largest, most):
    """Return the float32 scale of a largest magnitude (float64), which covers it with `most` scales."""
    scale = np.float64(np.float32(largest / most))
    if scale * most < largest:
        beyond, least = scale * (1.0 + 2.0**-23), scale + 2.0**-149
        scale = beyond if beyond > least else least
    return np.float32(scale)
