"""An estimate of the time of runs, from a few steps on made-up images: for plans without a history.

The time of a step depends on shapes alone, so that neither the data set nor all node counts are needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from qsgd_lab.data.stand_in import stand_in
from qsgd_lab.errors import LabError, RunFailedError
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.devices import prepare, resolve_device
from qsgd_lab.training.evaluation import accuracy
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

#: A step longer than this is not taken whole: its time follows from smaller batches.
LONGEST_STEP_S = 4.0
#: Steps are repeated while they are shorter than this, at most so many times.
SHORT_STEP_S, MAX_STEPS = 0.5, 3
#: Images of a share in the first small batch; the second has twice as many.
SMALL_SHARE = 2
EVALUATED_IMAGES = 50
#: Whole passes over validation-sized parts besides one an epoch: the test set counts for two.
PASSES_AT_THE_END = 3


def expected_seconds(
    configs: Sequence[RunConfig], announce: Callable[[str], None] = lambda _line: None
) -> list[float]:
    """Return the seconds that each run would take in a process of its own.

    Runs that differ in nothing but their node count, method and seed are probed at the fewest and at the most
    nodes, quantized if any of them is; between those a step's time is taken as linear in N, which it is but
    for the engine that `auto` takes: each node adds the same handling of weights, messages and launches.

    Parameters
    ----------
    configs : sequence of RunConfig
    announce : callable
        Told, in words, what is about to be measured.
    """
    lines: dict[RunConfig, tuple[float, float]] = {}
    kinds = {_kind(config): [c for c in configs if _kind(c) == _kind(config)] for config in configs}
    for kind, members in kinds.items():
        fewest, most = (pick(members, key=lambda c: c.nodes).nodes for pick in (min, max))
        ends = []
        for nodes in dict.fromkeys((fewest, most)):
            announce(f"{kind.model}, N={nodes}")
            ends.append(_probed(_dearest(members, nodes)) / kind.epochs)
        slope = (ends[-1] - ends[0]) / (most - fewest) if most > fewest else 0.0
        lines[kind] = (ends[0] - slope * fewest, slope)
    return [_on_line(lines[_kind(config)], config) for config in configs]


def _probed(config: RunConfig) -> float:
    """Return `probe_seconds`; what a plug-in raises is an error of the run, in one line."""
    try:
        return probe_seconds(config)
    except LabError:
        raise
    except Exception as error:
        if not config.plugins:
            raise
        raise RunFailedError(f"{config.method}: a step raises {type(error).__name__}: {error}") from error


def _kind(config: RunConfig) -> RunConfig:
    """Return what decides the cost of an epoch, the node count left out."""
    return replace(config.baseline(), nodes=1, seed=0, flaws=())


def _dearest(members: Sequence[RunConfig], nodes: int) -> RunConfig:
    here = [config for config in members if config.nodes == nodes]
    return min(here, key=lambda config: (config.is_full_precision, not config.error_feedback))


def _on_line(line: tuple[float, float], config: RunConfig) -> float:
    at_zero, slope = line
    return (at_zero + slope * config.nodes) * config.epochs


def probe_seconds(config: RunConfig) -> float:
    """Return the seconds that a run would take: its steps at their fastest, and its evaluations."""
    device = resolve_device()
    prepare(device)
    dataset = stand_in(config.dataset).to(device)
    trainer = Trainer(config, dataset, device)
    step = _step_seconds(trainer)
    part = replace(
        dataset.validation,
        images=dataset.validation.images[:EVALUATED_IMAGES],
        labels=dataset.validation.labels[:EVALUATED_IMAGES],
    )
    evaluation = _seconds(device, lambda: accuracy(trainer.model.module, part)) / len(part)
    images_evaluated = len(dataset.validation) * (config.epochs + PASSES_AT_THE_END)
    return step * trainer.num_steps + evaluation * images_evaluated


def _step_seconds(trainer: Trainer) -> float:
    """Return the time of one step: measured, or if it would be long, extrapolated from two small batches."""
    size = trainer.config.batch_size
    small, double = (min(size, share * trainer.config.nodes) for share in (SMALL_SHARE, 2 * SMALL_SHARE))
    _timed_step(trainer, small)  # compiles kernels, finds memory
    seconds = _timed_step(trainer, small)
    if double > small:
        more = max(0.0, _timed_step(trainer, double) - seconds)
        seconds += more * (size - small) / (double - small)
    if seconds > LONGEST_STEP_S or size == small:
        return seconds
    _timed_step(trainer, size)  # the libraries prepare themselves for the shapes
    times = [_timed_step(trainer, size)]
    while len(times) < MAX_STEPS and times[0] < SHORT_STEP_S:
        times.append(_timed_step(trainer, size))
    return min(times)


def _timed_step(trainer: Trainer, size: int) -> float:
    images, labels = (tensor[:size] for tensor in trainer.batch(0))
    return _seconds(trainer.device, lambda: trainer.step_on(images, labels, 0, Stopwatch()))


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
