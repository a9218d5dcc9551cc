"""Kills: whatever moment a process dies at, the same command ends with the same files."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys

import numpy as np
import pytest
from small_suite import result_until

KILLS = 20


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_20_kills_change_no_bit(tmp_path):
    """Killed at 20 random gradients and file moves, and begun again: all files but for times are equal."""
    whole = tmp_path / "whole"
    (tmp_path / "killed").mkdir()
    whole.mkdir()
    moments = result_until(whole)
    rng = np.random.default_rng(22)
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        folder = tmp_path / "killed" / str(rounds)
        folder.mkdir()
        while True:
            # About four kills a cell: far enough apart that some block is finished between two.
            countdown = int(rng.integers(1, moments // 3))
            process = multiprocessing.get_context("fork").Process(
                target=result_until, args=(folder, countdown), daemon=True
            )
            process.start()
            process.join(60)
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
        assert contents(folder) == contents(whole)


def contents(folder):
    """Return all files of a folder by name, JSON without times."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.json"))}
    return {name: untimed(json.loads(path.read_text())) for name, path in found.items()}


def untimed(document):
    """Return a document without processor times."""
    document.pop("seconds", None)
    for cell in document.get("cells", ()):
        del cell["cpu"]
    return document
