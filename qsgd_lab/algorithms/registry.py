"""The registry of training algorithms; listing them loads torch.

To add one, write a file in this folder that defines METHOD; it is found here.
"""

from __future__ import annotations

from qsgd_lab.algorithms.protocol import Algorithm
from qsgd_lab.registry import Method, Option, Registry

ALGORITHMS = Registry("algorithm", ("qsgd_lab.algorithms",), lambda: Algorithm)

__all__ = ["ALGORITHMS", "Method", "Option"]
