"""NVIDIA's compute-sanitizer over a small run of the checks: reads and writes out of bounds, and races."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

TOOLS = ("memcheck", "racecheck", "initcheck")
#: What is run under it: the checks themselves, on little.
SMALL_RUN = """
from qsgd_lab.gpu_check.cases import Scope, run_checks
from qsgd_lab.gpu_check.checks import CHECKS

scope = Scope(sizes=(513, 4097), large=5001, repeats=1, levels=(7, 127))
failures = [outcome for outcome in run_checks(CHECKS, scope) if outcome.failure]
raise SystemExit(f"{failures[0].name}: {failures[0].failure}" if failures else 0)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def sanitize(run: Run = subprocess.run, tools: Sequence[str] = TOOLS) -> dict[str, str]:
    """Return tool -> "clean", or the last line of what it said; one entry says so where it is missing."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"compute-sanitizer": "not installed: not run"}
    results = {}
    for tool in tools:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SMALL_RUN]
        done = run(command, capture_output=True, text=True, check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        results[tool] = "clean" if done.returncode == 0 else (lines[-1] if lines else "failed in silence")
    return results
