"""A worker that trains on the tiny fixture, read by the real reader, in place of the official CIFAR-10."""

from __future__ import annotations

from typing import Any

import cifar_fixture as fixture

from qsgd_lab import data
from qsgd_lab.data.cifar10.load import load_cifar10
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import RunOutcome
from qsgd_lab.training import run


def run_training(config: RunConfig, **told: Any) -> RunOutcome:
    """Train as the real worker does."""
    data.DATASETS["cifar10"] = lambda: load_cifar10(release=fixture.tiny_release())
    return run.run_training(config, **told)
