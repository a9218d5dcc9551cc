"""Cells, submissions, anchors and the commands, on a benchmark that takes a second."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_suite import PINNED, SMALL, SUBMISSION, TASK, SmallSoftmax, runner

from qsgd_lab.cli.main import main
from qsgd_lab.problems.benchmark import Curved, ManyKinks
from qsgd_lab.problems.comparison import FIRST_TUNING_REPEAT, ComparedMethod
from qsgd_lab.suite import anchors, cells, definition, result_file, submission


def run(capsys, *arguments, code=0):
    """Run a command, and return what it printed."""
    assert main(["suite", *arguments]) == code
    out, err = capsys.readouterr()
    return out, err


def test_the_best_of_several_specs_within_the_bits_counts(tmp_path):
    """A spec that is better but over the rung is passed over; its runs are kept and cost nothing again."""
    cell = runner(tmp_path).cell(TASK, "32x", ["synchronous", "minibatch(interval=32)"])

    assert cell.spec == "minibatch(interval=32)"
    assert cell.sent <= runner(tmp_path).limit(TASK, "32x")
    assert runner(tmp_path).cell(TASK, "32x", ["minibatch(interval=32)"]) == cell


def test_a_last_average_is_charged():
    """CSER's nodes end apart and pay a float32 vector more; local SGD's end together."""
    assert cells.last_average(ComparedMethod.parse("cser(ratio=40)"), TASK) == 32 * 64
    assert cells.last_average(ComparedMethod.parse("local-sgd(interval=32)"), TASK) == 0
    assert cells.last_average(ComparedMethod.parse("synchronous"), TASK) == 0


def test_tuning_test_and_verification_seeds_are_disjoint():
    """Whatever the digest, its repetitions and data are none of the public ones."""
    public = {*range(100), *range(FIRST_TUNING_REPEAT, FIRST_TUNING_REPEAT + 100)}
    for digest in ("0" * 64, "f" * 64, "123456789abcdef" * 4):
        assert public.isdisjoint(cells.verification_repeats(digest))
        assert cells.held_out_seed(digest) not in {task.seed for task in PINNED.tasks}


@pytest.mark.usefixtures("small")
def test_a_run_that_was_killed_ends_with_the_same_file(capsys, small):
    """Without some of its runs, as after a kill, the same command gives the same file but for times."""
    arguments = ["run", "mine.toml", "--rung", "32x"]
    first, _ = run(capsys, *arguments)
    kept = {path: path.read_bytes() for path in small.glob("runs/*/problem.json")}
    again, said = run(capsys, *arguments)
    assert again == first
    assert said.splitlines() == [
        f"Audit: curved at 32x, {words}: equal by nodes that send bytes."
        for words in ("test seeds", "verification seeds", "other data")
    ]
    for path in sorted(kept)[::2]:
        path.unlink()
    resumed, said = run(capsys, *arguments)

    assert "repetitions" in said
    assert _untimed(resumed) == _untimed(first)
    document = json.loads(first)
    assert document["status"] == "self-reported"
    assert document["anchors"][0]["within"] is True
    assert document["verification"][0]["within"] in (True, False)


def _untimed(line):
    document = json.loads(line)
    for cell in document["cells"]:
        del cell["cpu"]
    return document


@pytest.mark.usefixtures("small")
def test_a_result_is_set_beside_the_baselines(capsys):
    """run, table in five formats and plot: the stranger's way, from a TOML file to a figure."""
    run(capsys, "run", "mine.toml", "--rung", "32x", "-o", "mine.json", "--no-audit")
    for output_format in ("text", "markdown", "latex", "csv", "json"):
        out, _ = run(capsys, "table", "--against", "mine.json", "--format", output_format)
        assert "mine" in out or "My method" in out
    rows = json.loads(run(capsys, "table", "--against", "mine.json", "--format", "json")[0])
    assert {row["entry"] for row in rows} == {"fp32", "minibatch", "mine"}
    for rank in ("received", "rounds", "seconds@1Gbit/s,100us"):
        assert "My method" in run(capsys, "table", "--against", "mine.json", "--rank", rank)[0]
    run(capsys, "plot", "--against", "mine.json", "-o", "mine.svg")
    run(capsys, "add", "mine.json", "-o", "all.jsonl")
    assert "mine" in run(capsys, "table", "--against", "all.jsonl", "--format", "json")[0]
    assert "32x: local-sgd(interval=32) on curved" in run(capsys, "run", "mine.toml", "--dry-run")[0]


@pytest.mark.usefixtures("small")
def test_results_that_cannot_be_compared_end_with_one_line(capsys, small):
    """Another digest, a missing cell, other seeds, and hostile JSON: exit code 4 and one line."""
    run(capsys, "run", "mine.toml", "--rung", "32x", "-o", "mine.json", "--no-audit")
    sound = json.loads((small / "mine.json").read_text())
    bad = {
        "digest": ({"suite_digest": "sha256:other"}, "another definition"),
        "missing": ({"cells": [{**sound["cells"][0], "rung": "8x"}]}, ""),
        "seeds": ({"cells": [{**sound["cells"][0], "metric": [1.0]}]}, "1 seeds"),
        "twice": ({"cells": sound["cells"] * 2}, "twice"),
        "scale": ({"cells": [{**sound["cells"][0], "scale": 3.0}]}, "contradicts itself"),
        "name": ({"name": "../x"}, "name"),
    }
    for change, words in bad.values():
        (small / "bad.json").write_text(json.dumps({**sound, **change}))
        if words:
            _, said = run(capsys, "table", "--against", "bad.json", code=4)
            assert words in said
            assert said.count("\n") == 1
    for text in ("", "[", "[" * 10_000, "{}", '{"schema": NaN}', "\x00", '"' + "a" * 3_000_000 + '"'):
        (small / "bad.json").write_text(text)
        _, said = run(capsys, "table", "--against", "bad.json", code=4)
        assert said.count("\n") == 1


def test_a_missing_cell_is_named(monkeypatch, tmp_path, capsys, baselines):
    """A result that entered a rung must have all its scored tasks there."""
    two = replace(SMALL, digest="sha256:two", tasks=(TASK, replace(TASK, key="second")))
    monkeypatch.setattr(definition, "load_suite", lambda: two)
    monkeypatch.setattr(result_file, "stored_entries", lambda _: baselines)
    (tmp_path / "one.json").write_text(result_file.to_json(replace(baselines[1], name="one"), two))

    _, said = run(capsys, "table", "--against", str(tmp_path / "one.json"), code=4)
    assert "lacks second at 32x" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("suite = 'other/1'", "this lab has small/0"),
        ("name = 'My Method'", "lower-case letters"),
        ("mood = 'good'", "unknown field 'mood'"),
        ("title = 3", "short printable string"),
        ("specs = {'9x' = ['synchronous']}", "rungs"),
        ("specs = {'8x' = []}", "a list of 1 to 3"),
        ("specs = {'8x' = ['a','b','c','d']}", "a list of 1 to 3"),
        ("specs = {'8x' = [7]}", "a list of 1 to 3"),
    ],
)
def test_a_submission_that_is_not_sound_is_refused(change, words, tmp_path):
    """In one line that says what is wrong and what would be right."""
    import tomllib

    document = {**tomllib.loads(SUBMISSION), **tomllib.loads(change)}
    with pytest.raises(ValueError, match=words):
        submission.submission_of(document, SMALL, "mine.toml", tmp_path)


def test_a_digest_follows_the_specs():
    """Another spec or name gives other verification seeds and other held-out data."""
    made = submission.Submission("mine", "Mine", {"32x": ("synchronous",)})
    other = replace(made, specs={"32x": ("minibatch",)})

    assert made.digest(SMALL) != other.digest(SMALL)
    assert made.digest(SMALL) != made.digest(PINNED)


def test_prediction_intervals_hold_what_they_promise():
    """Means of new seeds are within the 99 % interval about 99 times of 100, and a peeked result is not."""
    rng = np.random.default_rng(0)
    draws = np.exp(0.1 * rng.standard_normal((2000, 11)))
    inside = np.mean([anchors.is_within(row[:8], row[8:], 0.99) for row in draws])

    assert inside == pytest.approx(0.99, abs=0.01)
    assert not anchors.is_within(0.5 * draws[0, :8], draws[0, 8:], 0.99)
    assert not anchors.is_within([*draws[0, :7], np.inf], draws[0, 8:], 0.99)


def test_the_baselines_are_complete_and_parse():
    """Every mandatory baseline is there, and each spec names a method within the three of a rung."""
    found = submission.baselines(PINNED)

    assert set(PINNED.mandatory) <= set(found)
    assert len(found) >= 12
    for each in found.values():
        each.load()


@pytest.mark.parametrize("problem", [Curved(4, 3, 64), ManyKinks(4, 3, 64)])
def test_gradients_are_those_of_the_error(problem):
    """The nodes' mean gradient is the error's slope, the optimum has error 0, and noise has mean 0."""
    point = np.linspace(-1, 2, 64)
    step = 1e-6 * np.cos(np.arange(64))
    slope = problem.full_gradients(np.broadcast_to(point, (4, 1, 64)))[:, 0].mean(axis=0)
    ahead, behind = problem.error(np.stack([point + step, point - step]))

    assert (ahead - behind) / 2 == pytest.approx(slope @ step, rel=1e-5)
    optimum = getattr(problem, "optimum", np.zeros(64))
    assert problem.error(optimum[None])[0] == pytest.approx(0, abs=1e-20)
    draws = problem.gradients(np.broadcast_to(point, (4, 500, 64)), np.random.default_rng(0))
    noise = draws - problem.full_gradients(np.broadcast_to(point, (4, 500, 64)))
    assert noise.std(axis=(0, 1)) == pytest.approx(problem.deviation, rel=0.1)
    assert abs(noise.mean(axis=(0, 1))).max() < 5 * problem.deviation.max() / np.sqrt(2000)


def test_softmax_gradients_and_optimum():
    """The mean gradient is the value's slope; at f* the gradient bound proves that nothing is left."""
    problem = SmallSoftmax(8, "dirichlet:0.1", 3)
    n = problem.num_coordinates
    rng = np.random.default_rng(0)
    point, step = rng.standard_normal(n) / 10, 1e-5 * rng.standard_normal(n)
    slope = problem.full_gradients(np.broadcast_to(point, (8, 1, n)))[:, 0].mean(axis=0)

    difference = problem.value(point + step) - problem.value(point - step)
    assert difference / 2 == pytest.approx(slope @ step, rel=1e-4)
    draws = problem.gradients(np.broadcast_to(point, (8, 60, n)), np.random.default_rng(1))
    along = (draws[:, :, :] @ slope) / (slope @ slope)
    error = along.mean(axis=0).std(ddof=1) / np.sqrt(60)
    assert along.mean() == pytest.approx(1, abs=4 * error)
    assert problem.value(problem.start) - problem.least > 1
