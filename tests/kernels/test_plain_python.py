"""Kernels without a compiler: with NUMBA_DISABLE_JIT=1 they are plain Python, for a debugger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import checkout
import kernel_results
import numpy as np
import pytest

ENVIRONMENT = {**os.environ, "NUMBA_DISABLE_JIT": "1"}


def plain(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python, with nothing compiled."""
    return subprocess.run(
        [sys.executable, *arguments], env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, check=False
    )


def test_plain_python_gives_the_compiled_bits(tmp_path):
    """Every quantizer, message, sum and count is the same without a compiler, and nothing is warned of."""
    result = plain(kernel_results.__file__, folder=tmp_path)

    assert result.stderr == ""
    assert json.loads(result.stdout) == kernel_results.results()


def test_the_slices_of_plain_loads_are_checked(tmp_path):
    """A load beyond the end of an array, which compiled code would do unseen, is an error."""
    code = "import numpy as np; from qsgd_lab.kernels.bits import load64; load64(np.zeros(12, np.uint8), 5)"
    result = plain("-c", code, folder=tmp_path)

    assert result.returncode == 1
    assert "ValueError" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("encode", "g.npy", "-o", "m.qsgd", "--bits", "2"), ("doctor", "--format", "json")],
    ids=["encode", "doctor"],
)
def test_commands_run_in_plain_python(arguments, tmp_path):
    """The command line works without a compiler: it codes a gradient, and the doctor says what is set."""
    np.save(tmp_path / "g.npy", np.random.default_rng(0).standard_normal(500).astype(np.float32))
    result = plain("-m", "qsgd_lab", *arguments, folder=tmp_path)

    assert "Traceback" not in result.stderr
    assert result.returncode == 0
    assert ("NUMBA_DISABLE_JIT" in result.stdout) == (arguments[0] == "doctor")


def test_listing_methods_compiles_nothing(tmp_path):
    """`methods` states the bits that compiled kernels give, those of docs/methods.md, without compiling."""
    command = [sys.executable, "-m", "qsgd_lab", "methods", "--format", "json"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
    page = (checkout.ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    stated = [row for row in json.loads(result.stdout) if row["bits"] is not None]
    assert len(stated) > 15
    for row in stated:
        assert re.search(rf"^\| `{re.escape(row['spec'])}` \|.* \| {row['bits']:.4g} \|", page, re.MULTILINE)
