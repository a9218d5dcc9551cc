"""Gradient compressors, one file a method, one row each in `COMPRESSORS`.

Tests run every law over the table; a new method is a file and a row.
"""

from __future__ import annotations

from collections.abc import Callable

from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.compressors.methods.fp32 import FullPrecision
from qsgd_lab.compressors.methods.qsgd import QSGD
from qsgd_lab.compressors.wrappers.damped import Damped
from qsgd_lab.compressors.wrappers.error_feedback import ErrorFeedback

#: Name -> constructor with defaults that work.
COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "fp32": FullPrecision,
    "qsgd": lambda: QSGD(bits=3),
    "qsgd-max": lambda: QSGD(bits=3, norm="max"),
    "ternary": lambda: QSGD(bits=1, norm="max", bucket_size="tensor"),
    "nearest": lambda: QSGD(bits=3, norm="max", rounding="nearest"),
    "damped": lambda: Damped(QSGD(bits=1, bucket_size="model")),
}

__all__ = ["COMPRESSORS", "QSGD", "Compressor", "Damped", "ErrorFeedback", "FullPrecision", "Gradient"]
