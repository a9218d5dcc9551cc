"""The registry of training algorithms; listing them loads torch."""

from __future__ import annotations

from qsgd_lab.registry import Method, Option, Registry

ALGORITHMS = Registry("algorithm", ("qsgd_lab.algorithms",))

__all__ = ["ALGORITHMS", "Method", "Option"]
