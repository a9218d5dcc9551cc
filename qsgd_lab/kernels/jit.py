"""``njit`` of Numba, or plain Python functions with ``NUMBA_DISABLE_JIT=1``, for debuggers and coverage.

Kernels give the same bits either way. Intrinsics, which only a compiler understands, have a fallback in plain
Python beside them. Every module of kernels imports this one first, and so cached kernels that were compiled
from other sources are removed before any is loaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numba import config
from numba import njit as compile_function

from qsgd_lab.compilation import kernels_run_plain, listen
from qsgd_lab.kernels.cache import drop_stale_kernels, lock_cache_index

drop_stale_kernels(Path(__file__).parent)
listen()  # for those who want to be told of compiling

#: Whether kernels are compiled.
IS_COMPILED = not (config.DISABLE_JIT or kernels_run_plain())


def njit(**options):
    """Return a decorator that compiles a function, or leaves it as it is.

    Parameters
    ----------
    **options
        Of `numba.njit`; ``cache`` and ``fastmath`` are always stated.
    """
    if IS_COMPILED:
        decorate = compile_function(**options)
        return lambda function: lock_cache_index(decorate(function))
    # Only what Python calls releases the lock. NumPy would warn of the wrap-around that compiled code means.
    is_entry = options.get("nogil", False)
    return np.errstate(all="ignore") if is_entry else lambda function: function
