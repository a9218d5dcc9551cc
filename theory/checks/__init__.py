"""Measurements of the real kernels, held against the formulas."""
