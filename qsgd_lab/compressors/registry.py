"""The registry of compressors; it loads neither Numba nor torch."""

from __future__ import annotations

from qsgd_lab.registry import BucketSize, Method, Option, Registry, Spec

COMPRESSORS = Registry("compressor", ("qsgd_lab.compressors.methods", "qsgd_lab.compressors.wrappers"))

__all__ = ["COMPRESSORS", "BucketSize", "Method", "Option", "Spec"]
