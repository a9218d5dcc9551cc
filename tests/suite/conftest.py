"""Fixtures: the small benchmark in place of the pinned one, and its stored baselines."""

from __future__ import annotations

import pytest
from small_suite import SMALL, SUBMISSION, TASK, entry, runner

from qsgd_lab.suite import cells, definition, result_file


@pytest.fixture(scope="session")
def baselines(tmp_path_factory):
    """Return float32 and minibatch on the small benchmark, run once."""
    made = runner(tmp_path_factory.mktemp("runs"))
    return (
        entry("fp32", made.cell(TASK, "1x", ["synchronous"])),
        entry("minibatch", made.cell(TASK, "32x", ["minibatch(interval=32)"])),
    )


@pytest.fixture
def small(monkeypatch, tmp_path, baselines):
    """Let the commands see the small benchmark, and run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(definition, "load_suite", lambda: SMALL)
    monkeypatch.setattr(cells, "check_data", lambda *_: None)
    monkeypatch.setattr(result_file, "stored_entries", lambda _: baselines)
    (tmp_path / "mine.toml").write_text(SUBMISSION)
    return tmp_path
