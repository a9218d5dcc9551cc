"""The flaws of a published protocol, by name: each is a switch of a run, so that its effect can be measured.

The protocol is that of a course report of June 2023 and its three notebooks; a fact about each flaw is what
its code does, not what its text says. `RunConfig.flaws` holds the names that a run replays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from qsgd_lab.runs.config import UNEQUAL_BATCH

NO_OP_ERROR_FEEDBACK = "no-op-error-feedback"
BIASED_LEVELS = "biased-levels"
TRAIN_MODE_VALIDATION = "train-mode-validation"
TRAIN_MODE_EVALUATION = "train-mode-evaluation"
TEST_SET_SELECTION = "test-set-selection"


class Flaw(NamedTuple):
    """What a flaw does, in one line, and the notebooks that have it."""

    summary: str
    notebooks: tuple[str, ...]


#: Name -> flaw, in the order of a training run.
FLAWS: dict[str, Flaw] = {
    NO_OP_ERROR_FEEDBACK: Flaw(
        "the gradient is overwritten before the residual is taken, so that the residual is always 0",
        ("AlexNet",),
    ),
    BIASED_LEVELS: Flaw(
        "levels are scaled by 2^b and divided by 2^b - 1: gradients come out 4/3 too large at 2 bits",
        ("AlexNet",),
    ),
    UNEQUAL_BATCH: Flaw(
        "quantized runs take N times the baseline's batch a step, and so 1/N of its steps an epoch",
        ("AlexNet",),
    ),
    TRAIN_MODE_VALIDATION: Flaw(
        "validation runs with batch statistics and active dropout; the test does not",
        ("AlexNet",),
    ),
    TRAIN_MODE_EVALUATION: Flaw(
        "validation and test run with batch statistics and active dropout",
        ("ResNet50",),
    ),
    TEST_SET_SELECTION: Flaw(
        "the best test accuracy among the three best checkpoints on validation is reported",
        ("AlexNet", "ResNet50", "ResNet18"),
    ),
}

#: How many checkpoints, best on validation first, the test set chooses from under `TEST_SET_SELECTION`.
CANDIDATES = 3


def flaws_of(notebook: str) -> tuple[str, ...]:
    """Return the sorted names of the flaws that a notebook of the report has.

    Examples
    --------
    >>> flaws_of("ResNet50")
    ('test-set-selection', 'train-mode-evaluation')
    """
    return tuple(sorted(name for name, flaw in FLAWS.items() if notebook in flaw.notebooks))


def check_flaws(names: Iterable[str]) -> None:
    """Refuse a name that is not a flaw's.

    Raises
    ------
    ValueError
        With the names that there are.
    """
    if unknown := sorted(set(names) - set(FLAWS)):
        raise ValueError(f"there is no flaw {unknown[0]!r}; there are: {', '.join(FLAWS)}")
