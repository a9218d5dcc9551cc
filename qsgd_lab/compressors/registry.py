"""The registry of compressors; it loads neither Numba nor torch.

To add one, write a file in `methods/` (a wrapper in `wrappers/`) that defines METHOD; it is found there.
"""

from __future__ import annotations

from qsgd_lab.registry import BucketSize, Method, Option, Registry, Spec

COMPRESSORS = Registry("compressor", ("qsgd_lab.compressors.methods", "qsgd_lab.compressors.wrappers"))

__all__ = ["COMPRESSORS", "BucketSize", "Method", "Option", "Spec"]
