"""Encoding and decoding on a CUDA device."""
