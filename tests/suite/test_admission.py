"""The admission of tasks: the null one is refused with its reason, those of the suite pass."""

from __future__ import annotations

import pytest
from small_suite import SmallSoftmax

from qsgd_lab.problems.benchmark import Curved, ManyKinks
from qsgd_lab.suite.admission import frame_refusals, refusals
from qsgd_lab.suite.definition import load_suite

SUITE = load_suite()


def found(problem, steps):
    """Return the kinds of the reasons against a task."""
    problem.num_steps = steps
    return [reason.partition(":")[0] for reason in refusals(problem, 8, steps, SUITE.scales, seed=3)]


def test_the_null_task_is_refused():
    """One curvature for all nodes: local methods, CSEA and CSER's code end where synchronous SGD ends."""
    assert "null" in found(Curved(8, 3, dimension=64, is_alike=True), 128)


@pytest.mark.parametrize(
    ("problem", "steps"),
    [
        (Curved(8, 3, dimension=64), 256),
        (ManyKinks(8, 3, dimension=64), 256),
        (SmallSoftmax(8, SUITE.task("softmax").split, 3), 128),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_tasks_of_the_suite_are_admitted(problem, steps):
    """The same problems with fewer coordinates and steps pass all three tests."""
    assert found(problem, steps) == []


def test_frames():
    """A frame of 80 bytes is too much of 1,024 coordinates at 32x, and not of any task of the suite."""
    assert [reason.partition(":")[0] for reason in frame_refusals(1024, (8, 32, 64))] == ["frame"]
    assert all(frame_refusals(task.dimension, task.ratios) == [] for task in SUITE.tasks)
