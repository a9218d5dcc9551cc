"""Gradients of a run as files."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.cli.measure.vector_source import read_vector
from qsgd_lab.data import load_dataset
from qsgd_lab.training.gradient_capture import capture_gradients
from qsgd_lab.training.presets import Method, configurations
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer


def config(method: Method):
    """Return a run of two nodes and one epoch."""
    (cell,) = configurations("demo", ["alexnet"], [2], [method], [0], {"epochs": 1})
    return cell


PLAIN = config(Method(2, "stochastic", False))
CORRECTED = config(Method(2, "stochastic", True))


def test_saved_gradients_are_those_of_the_run(tmp_path):
    """Each node's file holds the gradient that the run computes at that step, before quantization."""
    paths = capture_gradients(PLAIN, tmp_path / "new", steps=(0, 2))
    trainer = Trainer(PLAIN, load_dataset(PLAIN.dataset))
    for step in range(3):
        trainer.step(step, Stopwatch())

    assert [path.name for path in paths] == [
        f"{PLAIN.key}-step{step:06d}-node{node}.npy" for step in (0, 2) for node in (0, 1)
    ]
    np.testing.assert_array_equal(
        np.stack([read_vector(path) for path in paths[2:]]), trainer.engine.gradients.numpy()
    )


def test_error_feedback_stays_outside(tmp_path):
    """What was not sent before is not in a saved gradient; step 0 is the same with and without."""
    plain, corrected = (
        [read_vector(path) for path in capture_gradients(cell, tmp_path, steps=(0,))]
        for cell in (PLAIN, CORRECTED)
    )
    later = [read_vector(path) for path in capture_gradients(CORRECTED, tmp_path, steps=(3,))]
    trainer = Trainer(CORRECTED, load_dataset(CORRECTED.dataset))
    for step in range(4):
        residuals = trainer.exchange.buffer.copy()
        trainer.step(step, Stopwatch())

    np.testing.assert_array_equal(plain, corrected)
    assert np.linalg.norm(residuals) > np.linalg.norm(later)  # or the test would not see them


@pytest.mark.parametrize("steps", [(), (-1,), (10**6,)])
def test_steps_outside_the_run_are_refused(tmp_path, steps):
    """A step that the run does not have, or none at all, is named."""
    with pytest.raises(ValueError, match="must be between 0 and"):
        capture_gradients(PLAIN, tmp_path, steps=steps)
