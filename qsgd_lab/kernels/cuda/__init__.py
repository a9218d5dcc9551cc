"""Kernels for CUDA devices, and their launches; the only place of numba.cuda."""
