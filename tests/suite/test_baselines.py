"""The stored baselines: complete, within their bits, and in the order of a simulation by other code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from qsgd_lab.suite.definition import WHOLE, load_suite
from qsgd_lab.suite.result_file import stored_entries
from qsgd_lab.suite.score import Board
from qsgd_lab.suite.submission import baselines

SUITE = load_suite()
BOARD = Board(SUITE, stored_entries(SUITE))
SCORED = {task.key: task for task in SUITE.scored}
#: Ratios to float32 at 32x of an independent simulation (n = 1,024, no warm-up, other noise and codes).
INDEPENDENT = {
    "ef-nearest": (1.00, 1.04, 1.01),
    "ef-top-k": (1.04, 1.05, 1.90),
    "qsparse": (1.02, 1.00, 6.1),
    "diana": (1.88, 1.75, 1.98),
    "eden": (1.53, 1.39, 3.3),
    "local-sgd": (1.10, 1.41, 80),
    "ef-sign": (1.47, 1.06, 26),
    "cser": (1.38, 1.84, 272),
    "qsgd": (5.2, 5.2, 6.6),
    "diloco": (6.1, 8.7, 13),
    "minibatch": (6.7, 70, 13),
    "ef-blocks": (14, 135, 11),
}


def ratio(name, task):
    """Return a stored ratio at 32x."""
    return BOARD.scored(name, SUITE.task(task), "32x").ratio


def test_the_baselines_are_stored():
    """All at 32x and the mandatory ones at all rungs, within their bits, with rates inside the search."""
    for name, submission in baselines(SUITE).items():
        entry = BOARD.entries[name]
        known = {(task, rung): specs for task in SCORED for rung, specs in submission.specs.items()}
        due = {place for place in known if name in SUITE.mandatory or place[1] == "32x"}

        of_networks = {place for place in entry.cells if not SUITE.task(place[0]).scored}
        assert due <= set(entry.cells) - of_networks <= set(known)
        for place, cell in entry.cells.items():
            assert cell.spec in submission.specs[place[1]]
            assert cell.interior
            assert cell.cpu > 0
            assert cell.keys
            assert not BOARD.scored(name, SUITE.task(place[0]), place[1]).is_void


def test_the_baselines_admit_the_tasks():
    """On the full tasks: local methods part from float32, large batches lose, and float32 is off the edge."""
    for key in SCORED:
        whole = BOARD.entries["fp32"].cells[key, WHOLE]

        assert abs(ratio("local-sgd", key) - 1) > 0.01
        assert ratio("minibatch", key) >= 1.5
        # Two factor-2 steps above the best rate the metric is still finite.
        assert all(value < float("inf") for scale, value in whole.tried if scale <= 4 * whole.scale)
        assert whole.interior


@pytest.mark.parametrize(("task", "least"), [("curved", 0.8), ("kinked", 0.75), ("softmax", 0.6)])
def test_the_order_is_that_of_other_code(task, least):
    """Kendall's tau of twelve methods to the independent simulation; docs/benchmark.md explains the rest."""
    place = list(SCORED).index(task)
    own = [ratio(name, task) for name in INDEPENDENT]

    assert kendalltau(own, [row[place] for row in INDEPENDENT.values()]).statistic >= least


def test_the_scores_are_in_the_order_of_other_code():
    """Over the three tasks the independent scores, 1 - log(ratio) / log(16) cut to [0, 1], order alike."""
    scores = [np.clip(1 - np.log(row) / np.log(16), 0, 1).mean() for row in INDEPENDENT.values()]
    own = [BOARD.score(name, "32x") for name in INDEPENDENT]

    assert kendalltau(own, scores).statistic >= 0.85
