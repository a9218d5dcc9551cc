"""Entries that must gain nothing: placebos, liars, and methods that know the test seeds or the data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_suite import PEEKING, PLACEBOS, SMALL, SUBMISSION, TASK, SmallCurved, entry, runner

from qsgd_lab import plugins
from qsgd_lab.cli.main import main
from qsgd_lab.problems.registry import ProblemEntry, register_problem
from qsgd_lab.suite import anchors
from qsgd_lab.suite.score import Board

#: Of 64 coordinates a message's frame is most; at the rungs of this benchmark there is space for it.
ROOMY = replace(SMALL, tasks=(replace(TASK, ratios=(1, 2, 4)),))
SHORT = replace(TASK, steps=16)
TOP_K = "synchronous(compressor=ef({}top-k(fraction=0.05){}))"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return a function that loads a plug-in; the problem that some know by heart is there."""
    register_problem(ProblemEntry("small-curved", "a test", "f", lambda n, _, seed: SmallCurved(n, seed)))

    def load(text):
        path = tmp_path / "plugin.py"
        path.write_text(text)
        monkeypatch.setenv(plugins.VARIABLE, "")
        plugins.load([str(path)])
        return path

    return load


def test_float32_under_other_names_ties(tmp_path):
    """H = 1 of another algorithm and a named compressor are the same runs: ratio 1, and void at 32x."""
    specs = ["synchronous", "minibatch(interval=1)", "synchronous(compressor=fp32)"]
    made = [runner(tmp_path).cell(TASK, "1x", [spec]) for spec in specs]

    for cell in made[1:]:
        assert cell.metric == pytest.approx(made[0].metric, rel=1e-12)
        assert (cell.scale, cell.sent) == (made[0].scale, made[0].sent)
    # As entries of a rung: what the reference sends is over its bits, and said to be.
    others = [entry(f"p{i}", replace(cell, rung="32x")) for i, cell in enumerate(made)]
    board = Board(SMALL, [entry("fp32", made[0]), *others])
    assert board.scored("p1", TASK, "32x").ratio == pytest.approx(1)
    assert board.scored("p1", TASK, "32x").is_void


def test_a_wrapper_that_does_nothing_ties_with_its_base(plugin, tmp_path):
    """The same bits, runs and rate: ratio 1.00 to its base in every column, and tied with it."""
    plugin(PLACEBOS)
    base = runner(tmp_path).cell(SHORT, "8x", [TOP_K.format("", "")])
    idle = runner(tmp_path).cell(SHORT, "8x", [TOP_K.format("idle(", ")")])
    whole = runner(tmp_path).cell(SHORT, "1x", ["synchronous"])

    assert idle.metric == base.metric
    assert (idle.sent, idle.received, idle.rounds, idle.scale) == (
        base.sent,
        base.received,
        base.rounds,
        base.scale,
    )
    board = Board(ROOMY, [entry("fp32", whole), *(entry(n, c) for n, c in (("base", base), ("idle", idle)))])
    assert board.tied_with_best(ROOMY.tasks[0], "8x") == {"base", "idle"}
    # And one method entered twice.
    twice = Board(ROOMY, [entry("fp32", whole), entry("one", base), entry("two", base)])
    assert twice.tied_with_best(ROOMY.tasks[0], "8x") == {"one", "two"}
    assert twice.place("one", "8x") == twice.place("two", "8x") == 1


@pytest.mark.parametrize(("factor", "within"), [(0.7, 0.02), (0.5, 1e-9), (0.841, 0.1)])
def test_a_scaled_rate_gains_nothing(plugin, tmp_path, factor, within):
    """The search takes the factor out: 0.7, nearly a step, within 2 %; half a step is a tie."""
    plugin(PLACEBOS)
    scaled = runner(tmp_path).cell(TASK, "8x", [f"scaled(factor={factor})"])
    base = runner(tmp_path).cell(TASK, "8x", ["synchronous"])
    whole = replace(base, rung="1x")

    assert scaled.mean == pytest.approx(base.mean, rel=within)
    board = Board(ROOMY, [entry("fp32", whole), entry("base", base), entry("scaled", scaled)])
    assert board.tied_with_best(ROOMY.tasks[0], "8x") == {"base", "scaled"}


@pytest.mark.parametrize(("name", "reason"), [("peeking", "within"), ("learnt", "held_out_within")])
def test_peeking_gains_nothing(plugin, tmp_path, name, reason):
    """Verification seeds set back who knows the test seeds, held-out data who knows the data."""
    plugin(PEEKING)
    task = replace(TASK, source="small-curved", steps=32)
    suite = replace(SMALL, tasks=(task,))
    made = runner(tmp_path, suite)
    whole = entry("fp32", made.cell(task, "1x", ["synchronous"]))
    honest = made.cell(task, "32x", ["local-sgd(interval=32)"])
    peeked = made.cell(task, "32x", [name])
    found = anchors.audit(made, "0123456789abcdef" * 4, [peeked], [whole])
    (row,) = found.verification
    board = Board(suite, [whole, entry("honest", honest), entry(name, peeked, audit=found)])

    assert peeked.mean < honest.mean / 20
    assert row[reason] is False
    # With a few other seeds, or other data: no better than the honest method, but for noise.
    ratios = [board.scored(each, task, "32x").ratio for each in (name, "honest")]
    assert ratios[0] > 0.8 * ratios[1]


@pytest.mark.usefixtures("small")
def test_a_submission_that_is_not_honest_gets_no_result(plugin, small, capsys):
    """`suite run` audits messages first: exit code 4, one line, no run; so does `suite verify`."""
    plugin(PEEKING)
    (small / "mine.toml").write_text(SUBMISSION.replace("local-sgd(interval=32)", "peeking"))

    for command in (["run", "mine.toml", "-o", "mine.json"], ["verify", "mine.toml"]):
        assert main(["suite", *command]) == 4
        out, err = capsys.readouterr()
        assert "a node knows what was not sent" in out + err
        assert (out + err).count("\n") == 1
    assert not (small / "mine.json").exists()
    assert not list(small.glob("runs/*/problem.json"))
