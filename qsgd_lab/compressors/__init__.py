"""Gradient compressors: the protocol, the registry, and one file a method or wrapper."""

from __future__ import annotations

from qsgd_lab.compressors.methods.fp32 import FullPrecision
from qsgd_lab.compressors.methods.qsgd import QSGD
from qsgd_lab.compressors.protocol import Compressor, Layout, NodeRows, Wire
from qsgd_lab.compressors.registry import COMPRESSORS, Method, Option
from qsgd_lab.compressors.wrappers.damped import Damped
from qsgd_lab.compressors.wrappers.error_feedback import ErrorFeedback

__all__ = [
    "COMPRESSORS",
    "QSGD",
    "Compressor",
    "Damped",
    "ErrorFeedback",
    "FullPrecision",
    "Layout",
    "Method",
    "NodeRows",
    "Option",
    "Wire",
]
