"""A worker that trains on the tiny fixture, read by the real reader, in place of the official CIFAR-10."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cifar_fixture as fixture

from qsgd_lab.data import DATASETS
from qsgd_lab.data.cifar10.load import load_cifar10
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import RunOutcome
from qsgd_lab.training import run


def run_training(config: RunConfig, **told: Any) -> RunOutcome:
    """Train as the real worker does."""
    tiny = load_cifar10(release=fixture.tiny_release())
    sizes = (len(tiny.train), len(tiny.validation), len(tiny.test))
    DATASETS["cifar10"] = replace(DATASETS["cifar10"], load=lambda: tiny, sizes=sizes)
    return run.run_training(config, **told)
