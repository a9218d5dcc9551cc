"""``qsgd-lab link``: the calculator's four formats, and what it refuses."""

from __future__ import annotations

import csv
import io
import json

import pytest

from qsgd_lab.cli.main import main

ASKED = ["link", "--parameters", "25.6M", "--nodes", "2,64,1024", "--bits", "2,4", "--bandwidth", "10Gbit/s"]
ASKED += ["--latency", "20us", "--compute", "80ms"]


def test_rows_are_data(capsys):
    """JSON and CSV have the same rows: float32 and float16, and every collective of every width."""
    assert main([*ASKED, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3 * (4 + 2 * 3)
    assert main([*ASKED, "--format", "csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["step_s"] for row in table] == [str(row["step_s"]) for row in rows]
    ring = next(row for row in rows if row["nodes"] == 64 and row["sends"] == "fp32")
    assert ring["network_s"] == pytest.approx(126 * 20e-6 + 2 * 63 / 64 * 4 * 25.6e6 / 1.25e9)
    codes = next(row for row in rows if row["nodes"] == 64 and row["collective"] == "two-phase")
    assert codes["speed_up"] == pytest.approx(ring["step_s"] / codes["step_s"])
    assert codes["is_faster"]
    assert codes["link_bytes"] == pytest.approx(2 * 63 / 64 * 25.6e6 * (3 + 1 / 16) / 8)


def test_a_loss_is_announced(capsys):
    """Where quantizing takes longer than what it saves; text and LaTeX."""
    slow = ["link", "--nodes", "2", "--bandwidth", "100Gbit/s", "--quantize", "20ms", "--parameters", "2.5M"]
    assert main(slow) == 0
    text = capsys.readouterr().out
    assert "a loss is to be expected" in " ".join(text.split())
    assert "below" in text
    assert main([*slow, "--format", "latex"]) == 0
    assert "\\begin{tabular}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--parameters", "many"], "write 25.6M"),
        (["--devices", "8", "--nodes", "12"], "give a multiple of 8"),
        (["--overlap", "2"], "0<=x<=1"),
    ],
)
def test_bad_questions_are_refused(options, words, capsys):
    """Exit code 2, one line that says what would be right."""
    assert main(["link", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("share", "words"),
    [("0", "nothing overlapped"), ("0.6", "60 % of it overlapped"), ("1", "all of it overlapped")],
)
def test_the_overlap_is_said_in_words(share, words, capsys):
    """A share of the computing, not a number without a unit."""
    assert main(["link", "--compute", "80ms", "--overlap", share]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
