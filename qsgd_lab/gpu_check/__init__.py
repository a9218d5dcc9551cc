"""Checks and measurements on a CUDA device: the kernels' bits against the CPU's, and their speed."""
