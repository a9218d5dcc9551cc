"""Measuring links: real messages, their bytes by the interface's counter, and when ratios are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from qsgd_lab.cli.link import measure
from qsgd_lab.cli.link.measure_output import render
from qsgd_lab.cli.main import main
from qsgd_lab.distributed import bucket_messages
from qsgd_lab.link_lab import load, namespaces
from qsgd_lab.link_lab.measurement import Asked, Measured, Outcome, modelled


def test_messages_are_exchanged_and_counted(capsys):
    """Over loopback: bytes of the counter are those of the formula, and of headers and small tensors."""
    arguments = ["link", "measure", "--model", "alexnet-quarter", "--steps", "2", "--batch", "4"]
    arguments += ["--methods", "fp32,all-gather,two-phase", "--layouts", "fixed,ranged"]
    assert main([*arguments, "--format", "json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    ours = {"2:all-gather", "2:two-phase"}
    assert rows.keys() == {"fp32", *ours, *(f"{name}:ranged" for name in ours)}
    for row in rows.values():
        assert row["is_equal"]
        assert row["steps"] == 2
        assert row["least_s"] > 0
        assert (row["counted_bytes"] is None) == (row["method"] == "fp32")
    # The counter of the loopback has what both ranks sent.
    assert rows["fp32"]["modelled_bytes"] == 4 * rows["fp32"]["parameters"]
    assert rows["fp32"]["sent_bytes"] > 2 * rows["fp32"]["modelled_bytes"]
    # Other processes may use the loopback meanwhile, so that its counter has a lower bound alone.
    assert rows["2:all-gather"]["counted_bytes"] < rows["fp32"]["modelled_bytes"] / 5
    for name in ours:
        assert rows[name]["sent_bytes"] > 2 * rows[name]["counted_bytes"]
        assert rows[f"{name}:ranged"]["counted_bytes"] < rows[name]["counted_bytes"]


RANK = """
import os, sys, time
from pathlib import Path
from qsgd_lab.link_lab.measurement import end_with_starter
end_with_starter()
settings, rank = sys.argv[1:]
lock = os.open(Path(settings).parent.parent / f"pipe{rank}", os.O_WRONLY)  # closes when this process has gone
os.write(lock, b"here")
time.sleep(600)
"""
STARTER = """
import sys
from pathlib import Path
from qsgd_lab.link_lab.measurement import ended_by_sigterm, run_ranks
from qsgd_lab.link_lab.namespaces import loopback
with ended_by_sigterm():
    run_ranks([sys.executable, "-c", sys.argv[1]], {}, Path(sys.argv[2]), loopback(2))
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 143), ("SIGKILL", -9)])
def test_no_rank_outlives_the_command(tmp_path, how, code):
    """Each rank holds a pipe open, which ends soon after the command was ended, however that was."""
    (tmp_path / "ranks").mkdir()
    for rank in range(2):
        os.mkfifo(tmp_path / f"pipe{rank}")
    process = subprocess.Popen([sys.executable, "-c", STARTER, RANK, str(tmp_path / "ranks")])
    pipes = [(tmp_path / f"pipe{rank}").open("rb") for rank in range(2)]
    assert [pipe.read(4) for pipe in pipes] == [b"here"] * 2
    process.send_signal(getattr(signal, how))
    assert process.wait(60) == code
    for pipe in pipes:
        assert pipe.read() == b""  # waits until the rank has gone
        pipe.close()


def outcome(load):
    """Return an outcome of two methods, measured under a load."""
    asked = Asked(2, "alexnet", "digits", 16, 3, ("fp32", "2:all-gather"), 6.25e6)
    numbers = (3, 1.6, 1.5, 0.1, 0.05, 9.9e6, None, 9.89e6, 1.6, True)
    rows = [Measured("fp32", *numbers), Measured("2:all-gather", 3, 0.2, *numbers[2:])]
    return Outcome(asked, 2_472_266, 0.05, 1e-4, load, 4, rows)


def test_a_busy_machine_gets_no_ratios():
    """Where cores are too few for the load and a process each, only what was measured is printed."""
    calm, busy = render(outcome(1.0), "text"), render(outcome(3.5), "text")
    assert "8.00" in calm
    assert "8.00" not in busy
    assert "No ratios: others used 3.5 of 4 cores" in " ".join(busy.split())
    assert json.loads(render(outcome(3.5), "json"))[1]["speed_up"] is None


def test_more_ranks_than_cores_may_be_compared():
    """They wait for slow links: what speaks against ratios is others' work."""
    many = outcome(0.4)._replace(asked=outcome(0.4).asked._replace(nodes=8))
    assert many.is_calm
    assert not many._replace(load=0.6).is_calm


def test_the_load_is_that_of_others(monkeypatch):
    """All work of the machine, less what this process and its children have done, by the time that passed."""
    seconds = {"busy": 100.0, "own": 7.0, "clock": 50.0}
    monkeypatch.setattr(load, "_busy_s", lambda: seconds["busy"])
    monkeypatch.setattr(load, "_own_s", lambda: seconds["own"])
    monkeypatch.setattr(load, "time", SimpleNamespace(monotonic=lambda: seconds["clock"]))
    meter = load.LoadMeter()
    seconds |= {"busy": 106.0, "own": 11.0, "clock": 54.0}
    assert meter.others() == 0.5
    monkeypatch.setattr(load, "_busy_s", lambda: None)  # a system that counts nothing
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 0.0, 0.0))
    assert meter.others() == 1.25


def test_the_model_has_the_messages_of_the_collective():
    """Bytes of a message to each other rank, or shards of it there and back."""
    assert modelled("2:all-gather", 3, 4000, {"2:all-gather": 1000}).bytes == pytest.approx(2000)
    assert modelled("2:two-phase", 4, 4000, {"2:two-phase": 1000}).bytes == pytest.approx(1500)
    assert modelled("2:two-phase:auto", 4, 4000, {"2:two-phase:auto": 800}).bytes == pytest.approx(1200)
    assert modelled("fp16", 4, 4000, {}).bytes == pytest.approx(1.5 * 2 * 4000)
    assert modelled("powersgd", 4, 4000, {}) is None


def test_shaping_needs_a_superuser(monkeypatch, capsys):
    """One line with the way out, before a process is started."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["link", "measure", "--shape", "50Mbit/s"]) == 2
    assert "by root; leave out --shape" in capsys.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(namespaces.shutil, "which", lambda _: None)
    assert main(["link", "measure", "--shape", "50Mbit/s"]) == 2
    assert "ip and tc not found" in capsys.readouterr().err


def test_layouts_are_those_of_the_hook():
    """The command names what the hook takes."""
    assert measure.LAYOUTS == bucket_messages.LAYOUTS
