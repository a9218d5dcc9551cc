"""Kernels of single methods: blocks of integers, rotations."""
