"""Kernels for CUDA devices, and their launches; the only place of numba.cuda."""

import qsgd_lab.kernels.jit  # noqa: F401  - removes stale kernels before any is loaded
