"""A message in device memory as 32-bit words, whatever address it begins at."""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.launch_shape import WARP, current_launch_shape

WORD_BYTES = 4


@cuda.jit(cache=True, fastmath=False)
def copy_bytes(source, target):
    """Copy uint8 arrays of one size."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = source[i]


def _address(view):
    """Return the address of a Numba array, or of the simulator's."""
    memory = getattr(view, "_ary", None)
    return view.__cuda_array_interface__["data"][0] if memory is None else memory.ctypes.data


def word_view(home, view):
    """Return bytes as words: a view, or a copy where they do not begin at a multiple of four.

    Parameters
    ----------
    home : Home
    view : Numba uint8[4 w]
    """
    if view.size and _address(view) % WORD_BYTES:
        with home.active():
            copy = home.scratch(view.size, np.uint8)
            copy_bytes[(*current_launch_shape().grid(-(-view.size // WARP)), home.stream)](view, copy)
        view = copy
    return view.view(np.uint32)
