"""Kernels for the CPU: loops over the scalar arithmetic of the folder above."""
