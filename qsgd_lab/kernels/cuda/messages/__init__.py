"""Kernels that count, write and read messages."""
