"""What the theory, or a measurement, says against methods: on stderr, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from qsgd_lab.cli.standard_error import say

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig


def warn_of_theory(configs: Sequence[RunConfig]) -> None:
    """Say what speaks against the methods of training runs, planned or about to start."""
    from qsgd_lab.training.presets import theory_warnings

    print_warnings(theory_warnings(configs))


def print_warnings(lines: Iterable[str]) -> None:
    """Print each line once."""
    for line in dict.fromkeys(lines):
        say(f"Warning: {line}.")
