"""Gradient compressors, one file a method, one row each in `COMPRESSORS`.

Tests run every law over the table; a new method is a file and a row.
"""

from __future__ import annotations

from collections.abc import Callable

from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.compressors.damped import Damped
from qsgd_lab.compressors.error_feedback import ErrorFeedback
from qsgd_lab.compressors.full_precision import FullPrecision
from qsgd_lab.compressors.qsgd import QSGD

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
