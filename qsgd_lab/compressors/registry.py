"""The registry of compressors; it loads neither Numba nor torch.

To add one, write a file in `methods/` (a wrapper in `wrappers/`) that defines METHOD; it is found there.
"""

from __future__ import annotations

from qsgd_lab.registry import BucketSize, Method, Option, Registry, Spec


def _compressor() -> type:
    from qsgd_lab.compressors.protocol import Compressor

    return Compressor


COMPRESSORS = Registry(
    "compressor", ("qsgd_lab.compressors.methods", "qsgd_lab.compressors.wrappers"), _compressor
)

__all__ = ["COMPRESSORS", "BucketSize", "Method", "Option", "Spec"]
