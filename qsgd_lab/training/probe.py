"""How long a run will take, from a few of its steps: for plans without a history."""

from __future__ import annotations

import time

import torch

from qsgd_lab.data import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.evaluation import accuracy
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

PROBE_STEPS = 3


def probe_seconds(config: RunConfig) -> float:
    """Return the seconds that a run would take on one thread: steps at their fastest, and evaluations."""
    torch.set_num_threads(1)
    dataset = load_dataset(config.dataset)
    trainer = Trainer(config, dataset)
    trainer.step(0, Stopwatch())  # compiles kernels and warms caches
    seconds = [_timed(trainer, step) for step in range(1, 1 + PROBE_STEPS)]
    start = time.perf_counter()
    accuracy(trainer.model.module, dataset.validation)
    evaluation = time.perf_counter() - start
    return min(seconds) * trainer.num_steps + evaluation * (config.epochs + 3)


def _timed(trainer: Trainer, step: int) -> float:
    start = time.perf_counter()
    trainer.step(step, Stopwatch())
    return time.perf_counter() - start
