"""What every test needs: the installed package, the oracles by name, Hypothesis' settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent

# With the checkout on sys.path, ./qsgd_lab would shadow an installed wheel.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
# The oracles and what tests share are imported by their names.
sys.path[:0] = [str(TESTS / "oracles"), str(TESTS / "support")]

# Compiling a kernel in the middle of an example is slow, not wrong: no deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
