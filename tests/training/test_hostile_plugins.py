"""Plug-ins whose code fails, or whose names and states are unusual: nothing is lost or mistaken."""

from __future__ import annotations

import dataclasses
import json

import pytest

from qsgd_lab import plugins
from qsgd_lab.cli.main import main
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.report.analysis.grouping import distinct_labels
from qsgd_lab.runs.record import Interrupted
from qsgd_lab.training.methods import with_collective
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import run_training

#: Methods of which a function fails, or returns what it must not.
HOSTILE = """
import enum
from qsgd_lab.compressors import COMPRESSORS, QSGD, Method, Option

class Fails(QSGD):
    def __init__(self, **options):
        super().__init__(bits=2)
    def compress(self, gradient, state, stream):
        raise RuntimeError("boom")
    def mean(self, *arguments):
        raise RuntimeError("boom")

Colour = enum.Enum("Colour", {"RED": "red", "BLUE": "blue"})
own = lambda name, make=Fails, label=lambda _: "own", options=(): COMPRESSORS.register(
    Method(name, make, options, label, summary="fails", source="me")
)
own("makes-no-compressor", lambda: 5)
own("cannot-be-made", lambda: {}["table"])
own("no-label", label=lambda _: None)
own("label-fails", label=lambda _: 1 / 0)
own("enumerated", options=(Option("colour", Colour, Colour.RED, "a colour"),))
own("fails")
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("makes-no-compressor",), 2, "makes-no-compressor: make returns 5"),
        (("cannot-be-made",), 2, "cannot-be-made: make raises KeyError: 'table'"),
        (("no-label",), 2, "no-label: its label is None"),
        (("label-fails",), 2, "label-fails: label raises ZeroDivisionError"),
        (("enumerated(colour=blue)",), 2, "its type does not read as the same value"),
        (("fails", "--dry-run"), 1, "fails: a step raises RuntimeError: boom"),
    ],
)
def test_what_a_method_does_wrong_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, message):
    """Before anything is trained, and the line names the method."""
    (tmp_path / "hostile.py").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    asked = ["reproduce", "--nodes", "2", "--seeds", "0", "--import", "hostile.py", "--compressor"]
    assert main([*asked, *arguments]) == code
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("Error")]
    assert len(lines) == 1, errors
    assert message in lines[0]
    assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_a_failing_method_is_listed_with_its_problem(tmp_path, capsys):
    """The others are listed in every format; a wrapper that refuses qsgd is shown around another one."""
    (tmp_path / "hostile.py").write_text(
        HOSTILE
        + "class Sums(QSGD):\n"
        + "    def __init__(self, inner):\n"
        + "        if inner.aggregates != 'sums': raise ValueError('sums only')\n"
        + "        super().__init__(bits=2)\n"
        + "COMPRESSORS.register(Method('sums', Sums, (), str, summary='', source='', is_wrapper=True))\n"
    )
    rows = {}
    for format_name in ("text", "csv", "latex", "json"):
        assert main(["methods", "--import", str(tmp_path / "hostile.py"), "--format", format_name]) == 0
        text = capsys.readouterr().out
        assert "top-k" in text
    rows = {row["name"]: row for row in json.loads(text)}
    assert rows["cannot-be-made"]["problem"] == "cannot-be-made: make raises KeyError: 'table'"
    assert rows["fails"]["problem"] == "RuntimeError: boom"
    assert rows["sums"]["spec"] == "sums(fp32)"
    assert [name for name, row in rows.items() if "problem" in row and row["origin"] == "qsgd_lab"] == []


def test_a_model_is_not_named_as_the_presets(tmp_path, monkeypatch, capsys):
    """The preset's name means another network than the plug-in's: one line, and nothing is trained."""
    path = tmp_path / "model.py"
    path.write_text("from qsgd_lab.models import register_model\nregister_model('alexnet-bn', object)\n")
    monkeypatch.chdir(tmp_path)
    asked = ["reproduce", "--import", "model.py", "--preset", "digits-report", "--model", "alexnet-bn"]
    assert main([*asked, "--dry-run"]) == 2
    assert "two models are named 'alexnet-bn', from the preset and" in capsys.readouterr().err


LAZY = """
import numpy as np
from qsgd_lab.compressors import COMPRESSORS, FullPrecision, Method

class Lazy(FullPrecision):
    \"\"\"Momentum, whose state has no array at the beginning.\"\"\"
    def init(self, layout):
        return {first}
    def compress(self, gradient, state, stream):
        old = {old}
        sent = gradient + (np.float32(0.5) * old if old is not None else 0)
        return super().compress(sent, None, stream)[0], {new}
    def mean(self, rows, states, stream, out, ledger):
        from qsgd_lab.compressors.protocol import Compressor
        return Compressor.mean(self, rows, states, stream, out, ledger)

COMPRESSORS.register(Method("lazy", Lazy, (), lambda _: "lazy", summary="", source=""))
"""


@pytest.mark.parametrize(
    ("first", "old", "new"),
    [
        ("None", "state", "sent"),
        ("{}", "state.get('sent')", "{'sent': sent}"),
        ("(None, 0)", "state[0]", "(sent, state[1] + 1)"),
        ("None", "state and state['sent']", "{'sent': sent}"),
    ],
)
def test_a_state_that_begins_empty_is_kept_or_refused(tmp_path, first, old, new):
    """Resumed, the run ends as one that was never stopped; what cannot be rebuilt is an error of one line."""
    code = LAZY.replace("{first}", first).replace("{old}", old).replace("{new}", new)
    (tmp_path / "lazy.py").write_text(code)
    plugins.load([str(tmp_path / "lazy.py")])
    (cell,) = configurations("demo", ["alexnet"], [2], ["lazy"], [0], {"epochs": 1}, "synchronous")

    def train(stops):
        countdown = iter(range(stops, -1, -1)) if stops else None
        return run_training(
            cell,
            checkpoint=tmp_path / f"{bool(stops)}.npz",
            should_stop=lambda: countdown is not None and next(countdown) == 0,
            progress=lambda *_: None,
        )

    with pytest.raises(Interrupted):
        train(3)
    (tmp_path / "True.npz").rename(tmp_path / "False.npz")
    if new.startswith("{") and first == "None":
        with pytest.raises(ValueError, match="has members that its first state lacks"):
            train(0)
        return
    stopped = train(0)
    (tmp_path / "False.npz").unlink(missing_ok=True)
    assert stopped.epochs == train(0).epochs


def test_rows_of_one_name_are_told_apart(tmp_path):
    """Two versions of a plug-in, and a plug-in's method named as the package's, have different rows."""
    (fp32,) = configurations("demo", ["alexnet"], [2], ["fp32"], [0], {})
    (tmp_path / "lazy.py").write_text(
        LAZY.replace("{first}", "None").replace("{old}", "state").replace("{new}", "sent")
    )
    plugins.load([str(tmp_path / "lazy.py")])
    (own,) = configurations("demo", ["alexnet"], [2], ["ef(lazy)"], [0], {})
    older = dataclasses.replace(own, plugins=("lazy=lazy.py sha256:0123456789ab",))
    labels = list(distinct_labels([fp32, own, older, older]).values())
    assert labels[0] == "fp32"
    assert labels[2] == "lazy + EF (lazy.py sha256:0123456789ab)"
    assert len(set(labels)) == len(labels) == 3
    assert list(distinct_labels([fp32, own]).values()) == ["fp32", "lazy + EF"]

    COMPRESSORS._outside["lazy"] = dataclasses.replace(COMPRESSORS.methods()["lazy"], label=lambda _: "fp32")
    (like,) = configurations("demo", ["alexnet"], [2], ["lazy"], [0], {})
    assert list(distinct_labels([fp32, like]).values()) == ["fp32", "fp32 [lazy]"]


SERVERS = """
from qsgd_lab.algorithms.parameter_server import ParameterServer
from qsgd_lab.algorithms.registry import ALGORITHMS, Method
from qsgd_lab.algorithms.synchronous import Synchronous

for name, make in (("through-one", lambda: ParameterServer(down="fp32")), ("asynchronous-like", Synchronous)):
    ALGORITHMS.register(Method(name, make, (), lambda _, name=name: name, summary="", source=""))
"""


def test_whether_there_is_a_server_is_what_the_algorithm_says(tmp_path):
    """Its name says nothing: two phases take the place of no server, and refuse an algorithm with one."""
    (tmp_path / "servers.py").write_text(SERVERS)
    plugins.load([str(tmp_path / "servers.py")])
    cells = {
        name: configurations("demo", ["alexnet"], [4], ["qsgd(bits=4,norm=max)"], [0], {}, name)[0]
        for name in ("through-one", "asynchronous-like")
    }
    assert with_collective(cells["asynchronous-like"], "two-phase").collective == "two-phase"
    assert with_collective(cells["through-one"], "auto").collective == "all-gather"
    with pytest.raises(ValueError, match="two-phase has no server"):
        with_collective(cells["through-one"], "two-phase")


@pytest.mark.parametrize(
    "algorithm", ["cser(ratio=32)", "cser-pl(interval=4,resets=top-k)", "parameter-server", "ef-sgd"]
)
def test_two_phases_without_a_compressor_are_refused(algorithm):
    """Where the algorithm names what is sent, the run's messages are none that two phases requantize."""
    (cell,) = configurations("demo", ["alexnet"], [4], ["fp32"], [0], {}, algorithm)
    assert with_collective(cell, "auto") == cell
    with pytest.raises(ValueError, match="leave out two-phase"):
        with_collective(cell, "two-phase")
