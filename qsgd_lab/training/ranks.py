"""One run on real ranks: each computes its node's share, and all come to the simulation's result.

Every rank takes the same steps and evaluates the same parameters, so that all know the result. Losses and the
statistics of BatchNorm are shared after each step; what is shared for that is not counted as sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qsgd_lab.data import Dataset
from qsgd_lab.distributed.exchange import DistributedExchange
from qsgd_lab.distributed.lane import Lane
from qsgd_lab.distributed.two_phase import DistributedTwoPhase
from qsgd_lab.models.dropout import open_dropout_streams
from qsgd_lab.runs.config import TWO_PHASE, RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.training.checkpoint import Arrays, load_checkpoint, save_checkpoint
from qsgd_lab.training.methods import compressor_of
from qsgd_lab.training.run import Run
from qsgd_lab.training.trainer import Trainer

#: Steps between two questions whether any rank was asked to stop.
STOP_EVERY = 10


def run_on_ranks(
    config: RunConfig,
    lane: Lane,
    *,
    checkpoint: Path,
    should_stop: Callable[[], bool],
    progress: Callable[[int, int, dict[str, Any]], None],
) -> RunOutcome:
    """Train one configuration on the ranks of a lane, or go on with it; every rank calls this.

    Parameters
    ----------
    config : RunConfig
        With as many nodes as there are ranks.
    lane : Lane
    checkpoint, should_stop, progress
        As in `qsgd_lab.training.run.run_training`. Each rank keeps two checkpoints of its own beside
        `checkpoint`, so that all have one of the same step whenever they are stopped.

    Raises
    ------
    ValueError
        If the configuration has another number of nodes.
    Interrupted
        On every rank, when one was asked to stop.
    PeerError
        If a rank is lost.
    """
    if config.nodes != lane.size:
        raise ValueError(f"the run has {config.nodes} nodes, and there are {lane.size} ranks")
    run = RankRun(config, checkpoint, lane)
    while run.has_more():
        if run.progress.step % STOP_EVERY == 0 and any(lane.gather_numbers(int(should_stop()))):
            run.save()
            raise Interrupted
        run.step()
        if run.at_end_of_epoch():
            progress(len(run.progress.epochs), config.epochs, run.progress.epochs[-1])
            run.save_now_and_then()
    outcome = run.outcome()
    run.remove_checkpoints()
    return outcome


class RankTrainer(Trainer):
    """A trainer whose only local node is this rank."""

    def __init__(self, config: RunConfig, dataset: Dataset, lane: Lane) -> None:
        self.lane = lane
        super().__init__(replace(config, engine="loop"), dataset)
        self._norms = [layer for layer in self.model.module.modules() if isinstance(layer, nn.BatchNorm2d)]
        self._momenta = [layer.momentum for layer in self._norms]

    def _make_exchange(self) -> DistributedExchange:
        config = self.config
        kind = DistributedTwoPhase if config.collective == TWO_PHASE else DistributedExchange
        return kind(compressor_of(config), config.seed, self.model.layout, self.lane)

    def compute_gradients(self, images: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Compute this node's gradient, and return the losses of all nodes, shape (N,)."""
        nodes, rank = self.lane.size, self.lane.rank
        images, labels = images.chunk(nodes)[rank], labels.chunk(nodes)[rank]
        open_dropout_streams(self.model.module, self.config.seed, step, rows_before=rank * len(images))
        before = [[running.clone() for running in _running(layer)] for layer in self._norms]
        for layer in self._norms:
            layer.momentum = 1.0  # leaves the statistics of this batch in the running ones
        loss = self.engine.compute(self.precision.lay_out(images), labels)
        return self._share(loss, before)

    def _share(self, loss: torch.Tensor, before: list[list[torch.Tensor]]) -> torch.Tensor:
        """Return all nodes' losses, and update the running statistics by all batches, in the nodes' order."""
        batches = [running for layer in self._norms for running in _running(layer)]
        flat = torch.cat([loss.reshape(-1), *batches]).numpy()
        gathered = self.lane.gather(flat.view(np.uint8), flat.nbytes)
        parts = torch.from_numpy(np.stack([part.view(np.float32) for part in gathered]))
        sizes = [running.numel() for running in batches]
        losses, *shared = parts.split([1, *sizes], dim=1)  # type: ignore[no-untyped-call]
        for i, (layer, momentum) in enumerate(zip(self._norms, self._momenta, strict=True)):
            update_running_statistics(before[i], (shared[2 * i], shared[2 * i + 1]), momentum or 0.0)
            for running, updated in zip(_running(layer), before[i], strict=True):
                running.copy_(updated)
            layer.momentum = momentum
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.add_(self.lane.size - 1)  # the module has counted its own share
        return losses[:, 0].contiguous()  # type: ignore[no-any-return]


def update_running_statistics(
    running: Sequence[torch.Tensor], of_batches: Sequence[torch.Tensor], momentum: float
) -> None:
    """Update a running mean and variance by those of each batch in turn, rounded as torch rounds on a CPU.

    Parameters
    ----------
    running : pair of torch.Tensor
        Mean and variance, float32, shape (C,); updated in place.
    of_batches : pair of torch.Tensor
        The same of N batches, shape (N, C).
    momentum : float
    """
    mean, variance = running
    for of_mean, of_variance in zip(*of_batches, strict=True):
        mean.mul_(1 - momentum).add_(momentum * of_mean)  # both products rounded
        variance.mul_(1 - momentum).add_(of_variance, alpha=momentum)  # one, and then the sum


def _running(layer: nn.BatchNorm2d) -> list[torch.Tensor]:
    """Return the running mean and variance of a layer."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return [layer.running_mean, layer.running_var]


class RankRun(Run):
    """A run of which each rank keeps its own part of the state."""

    def __init__(self, config: RunConfig, checkpoint: Path, lane: Lane) -> None:
        self.lane = lane
        self._saves = 0
        super().__init__(config, checkpoint, torch.device("cpu"))

    def _make_trainer(self) -> RankTrainer:
        return RankTrainer(self.config, self.dataset, self.lane)

    def _file(self, generation: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.rank{self.lane.rank}.{generation}{self.path.suffix}")

    def _stored(self) -> tuple[Arrays, dict[str, Any]] | None:
        """Return the latest checkpoint of which every rank has its part."""
        found = {}
        for generation in (0, 1):
            stored = load_checkpoint(self._file(generation), self.config.key)
            if stored is not None:
                found[int(stored[1]["progress"]["step"])] = (generation, stored)
        steps = json.dumps(sorted(found)).encode()
        everywhere = [
            set(json.loads(bytes(other))) for other in self.lane.gather(np.frombuffer(steps, np.uint8))
        ]
        common = set.intersection(*everywhere)
        if not common:
            return None
        generation, stored = found[max(common)]
        self._saves = generation + 1  # the other one is overwritten next
        return stored

    def save_now_and_then(self) -> None:
        """Save where rank 0 finds that it is time."""
        if self.lane.gather_numbers(int(self.is_time_to_save()))[0]:
            self.save()

    def _write(self, arrays: Arrays, scalars: dict[str, Any]) -> None:
        save_checkpoint(self._file(self._saves % 2), self.config.key, arrays, scalars)
        self._saves += 1

    def remove_checkpoints(self) -> None:
        """Remove this rank's checkpoints: the run is over."""
        for generation in (0, 1):
            self._file(generation).unlink(missing_ok=True)
