"""The paper speaks of other tasks as far as their runs are complete, and no further."""

from __future__ import annotations

import sys
from itertools import product

import checkout
import fake_runs
import pytest

PAPER = checkout.ROOT / "paper"
sys.path.insert(0, str(PAPER / "scripts"))

import evidence  # noqa: E402
import evidence_claims  # noqa: E402
import paper_runs  # noqa: E402

from qsgd_lab.report.analysis.grouping import group_records  # noqa: E402
from qsgd_lab.runs.store import RunStore  # noqa: E402

#: Method, and how many points below fp32 it is.
METHODS = (
    ((32, None, False), 0.0),
    ((8, "stochastic", True), 0.0),
    ((4, "stochastic", True), 0.0),
    ((2, "stochastic", True), 0.0),
    ((1, "stochastic", True), 2.0),
    ((2, "stochastic", False), 1.0),
    ((2, "nearest", False), 8.0),
    ((2, "nearest", True), 0.1),
)
#: By seed, in points: enough noise for a test.
NOISE = (0.0, 0.02, -0.02, 0.01, -0.01)


def runs_of(task, nodes=(1, 8), seeds=5, less=None):
    """Return invented runs of a task; ``less`` replaces the losses of some methods."""
    dataset, split = evidence_claims.TASKS[task]
    return [
        fake_runs.record(
            bits=bits,
            rounding=rounding,
            error_feedback=feedback,
            dataset=dataset,
            split=split,
            nodes=n,
            seed=seed,
            accuracy=(90 - (less or {}).get((bits, rounding, feedback), loss) + NOISE[seed] * (bits < 32))
            / 100,
        )
        for (bits, rounding, feedback), loss in METHODS
        for n in nodes
        for seed in range(seeds)
    ]


@pytest.fixture
def store(monkeypatch):
    """Return what puts invented runs in the place of the committed ones."""

    def put(records):
        found = evidence.complete(records)
        monkeypatch.setattr(evidence, "evidence", lambda: found)
        return found

    return put


def verdicts(records):
    """Return the verdicts on the tasks by name."""
    runs = paper_runs.PaperRuns(PAPER, tuple(records), paper_runs.main_group(group_records(records)))
    return {name: claim(runs).holds for name, claim in evidence_claims.EVIDENCE_CLAIMS.items()}


def test_incomplete_cells_are_left_out(store):
    """A cell of four seeds is dropped, and so is one without fp32 of five beside it."""
    few = runs_of("images", seeds=4)
    one_short = [run for run in runs_of("recurrent") if (run.config.bits, run.config.seed) != (4, 3)]
    no_fp32 = [run for run in runs_of("unlike") if run.config.bits != 32]
    kept = store([*few, *one_short, *no_fp32])

    assert {run.config.dataset for run in kept} == {"brackets"}
    assert {run.config.bits for run in kept} == {32, 8, 2, 1}
    assert evidence_claims.shown_tasks() == ["recurrent", "recurrent, several nodes"]


def test_without_runs_nothing_is_said(store):
    """No complete cell, no table, no figure and no verdict."""
    store(runs_of("images", seeds=3))

    assert evidence.tasks_table() is None
    assert evidence.frontier_figure() is None
    assert set(verdicts(runs_of("images", seeds=3)).values()) == {None}


def test_claims_hold_where_they_are_true(store):
    """With runs in which feedback loses nothing and its absence does, every sentence holds."""
    records = [*runs_of("recurrent"), *runs_of("images", nodes=(8,)), *runs_of("unlike", nodes=(8,))]
    store(records)
    found = verdicts(records)
    undecided = {name for name, holds in found.items() if not holds}

    # In these runs more nodes change nothing.
    assert undecided == {"recurrent, several nodes: noise falls"}
    assert evidence.tasks_table().count(r"\label{tab:tasks}") == 1
    assert "tasks side by side" in evidence.tasks_table()


@pytest.mark.parametrize(
    ("method", "loss", "claim"),
    [
        ((2, "stochastic", True), 3.0, "feedback is near"),
        ((2, "nearest", False), 0.0, "bias loses"),
        ((2, "stochastic", False), 0.0, "noise loses"),
        ((2, "nearest", True), 7.0, "feedback restores"),
    ],
)
def test_a_false_sentence_does_not_hold(store, method, loss, claim):
    """Runs that contradict a sentence are found, in each task."""
    for task in evidence_claims.TASKS:
        records = runs_of(task, less={method: loss})
        store(records)

        assert verdicts(records)[f"{task}: {claim}"] is False


def test_an_order_that_differs_is_found(store):
    """Images on which noise loses more than nearest rounding do not have the recurrent network's order."""
    records = [*runs_of("recurrent"), *runs_of("images", less={(2, "stochastic", False): 12.0})]
    store(records)

    assert verdicts(records)["images: order of recurrent"] is False


def test_a_frontier_takes_enough_points(store):
    """The images' frontier is drawn where there are enough quantizers, of all norms and buckets together."""
    records = runs_of("images", nodes=(8,))
    store(records)
    assert evidence.frontier_figure() is None

    records += [
        fake_runs.record(
            bits=bits, dataset="fashion-mnist", nodes=8, norm=norm, bucket_size=512, seed=seed, accuracy=0.9
        )
        for bits in (2, 4)
        for norm in ("l2", "max")
        for seed in range(5)
    ]
    store(records)
    assert evidence.frontier_figure().startswith(b"%PDF")


def test_the_shortest_messages_without_feedback_would_be_noticed(store):
    """Stochastic levels that are as good as all others, and shorter, deny the sentence."""
    records = runs_of("images", nodes=(8,))
    store(records)
    assert verdicts(records)["images: shortest has feedback"] is True
    # One bit at random is then near float32, too, and its messages are the shortest.
    extra = {
        "dataset": "fashion-mnist",
        "nodes": 8,
        "bits": 1,
        "rounding": "stochastic",
        "error_feedback": False,
    }
    short = {"fixed": 0.2, "gamma": 0.1, "message": 0.1}
    records += [
        fake_runs.record(**extra, seed=seed, accuracy=0.9 + NOISE[seed] / 100, bits_per_coordinate=short)
        for seed in range(5)
    ]
    store(records)
    assert verdicts(records)["images: shortest has feedback"] is False


def is_near(cell):
    """Whether a cell is shown to be within the margin."""
    return cell.verdict.claim == "equivalent"


def test_float32_at_more_epochs():
    """Eight epochs reach 91 % with float32, as the page says; the table has those of five."""
    runs = [run for run in RunStore(PAPER / "evidence.jsonl").records() if run.config.epochs == 8]
    mean = 100 * sum(run.result["test_accuracy"] for run in runs) / len(runs)
    page = (checkout.ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert len(runs) == 5
    assert mean >= 91
    assert f"with 8 epochs {mean:.1f} %" in page


def test_what_the_page_on_data_says_of_the_runs():
    """docs/data.md names the runs that are stored, and its sentences are what their tests allow."""
    page = " ".join((checkout.ROOT / "docs" / "data.md").read_text(encoding="utf-8").split())
    assert not any(run.environment["dirty"] for run in RunStore(PAPER / "evidence.jsonl").records())
    found = {
        name: {
            (method.label, cell.nodes): cell
            for method in evidence.tasks()[task].methods
            for cell in method.cells
            if cell.seeds
        }
        for name, task in evidence_claims.TASKS.items()
    }
    assert {name: {nodes for _, nodes in cells} for name, cells in found.items()} == {
        "recurrent": {1, 8},
        "images": {1, 2, 8},
        "unlike": {8},
    }
    assert {name: {cell.num_seeds for cell in cells.values()} for name, cells in found.items()} == {
        "recurrent": {5},
        "images": {10},
        "unlike": {5},
    }
    equal = [(bits, label) for bits, label, cell in evidence.points_of_images() if is_near(cell)]
    assert equal[0][1] == "2 bit, nearest + EF"
    assert f"{equal[0][0]:.2f} bits a coordinate" in page
    near = {*evidence_claims.WITH_FEEDBACK, "2 bit, nearest + EF"}
    for cells in found.values():
        assert {cell.verdict.claim for (label, _), cell in cells.items() if label in near} == {"equivalent"}
    for name, label, nodes in (
        ("images", "2 bit, nearest", 8),
        ("recurrent", "2 bit, nearest", 8),
        ("images", "2 bit, stochastic", 8),
        ("recurrent", "2 bit, stochastic", 8),
        ("recurrent", "2 bit, stochastic", 1),
    ):
        verdict = found[name][label, nodes].verdict
        assert verdict.claim == "worse"
        assert f"{-verdict.difference:.1f} ± {verdict.half_width:.1f}" in page
    diverged = {
        place: found[place[0]][place[1:]].num_diverged
        for place in product(["images", "unlike"], ["2 bit, stochastic", "2 bit, nearest"], [1, 2, 8])
        if place[1:] in found[place[0]]
    }
    assert diverged == {
        ("images", "2 bit, stochastic", 1): 9,
        ("images", "2 bit, stochastic", 2): 4,
        ("images", "2 bit, stochastic", 8): 0,
        ("images", "2 bit, nearest", 1): 1,
        ("images", "2 bit, nearest", 2): 0,
        ("images", "2 bit, nearest", 8): 0,
        ("unlike", "2 bit, stochastic", 8): 3,
        ("unlike", "2 bit, nearest", 8): 5,
    }
    for name, nodes in (("recurrent", 8), ("images", 1), ("images", 2), ("images", 8), ("unlike", 8)):
        assert f"{found[name]['fp32', nodes].accuracy.mean:.1f} %" in page


@pytest.mark.parametrize("name", ["runs", "flaw-runs", "setting-runs", "evidence"])
def test_stored_runs_name_their_code_and_have_epochs(name):
    """They were made from a commit without other changes; a diverged run stores its last epoch, too."""
    store = RunStore(PAPER / f"{name}.jsonl")
    for run in store.records():
        assert run.environment["commit"]
        assert run.environment["dirty"] is False
        last = store.epochs(run)[-1]
        assert last.step == run.result["steps"]
