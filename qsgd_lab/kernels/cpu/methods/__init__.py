"""Kernels of single methods: blocks of integers, rotations, codebooks, sets of levels."""
