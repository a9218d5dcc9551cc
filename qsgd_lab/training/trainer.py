"""One run's state and its steps: gradients at N nodes, agreement, SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.synchronous import SynchronousAverage
from qsgd_lab.coding.tally import Tally
from qsgd_lab.data import Dataset
from qsgd_lab.data.augmentation import draw_placements
from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.randomness import Purpose, generator
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.checkpoint import Arrays
from qsgd_lab.training.engines import make_engine
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.methods import compressor_of
from qsgd_lab.training.schedule import learning_rate
from qsgd_lab.training.stopwatch import Stopwatch


class Trainer:
    """The model, the nodes and the optimizer of a run; everything follows from the configuration.

    Parameters
    ----------
    config : RunConfig
    dataset : Dataset
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self.config, self.dataset = config, dataset
        module = MODELS[config.model]()
        initialise(module, config.seed)
        self.model = FlatModel(module.train())
        self.algorithm = SynchronousAverage(
            compressor_of(config), config.nodes, config.seed, self.model.sizes
        )
        self.algorithm.warm_up()
        residuals = self.algorithm.residuals
        # Under error feedback gradients are added to what was not sent before: one buffer, one pass less.
        rows = (
            np.zeros((config.nodes, self.model.num_parameters), np.float32)
            if residuals is None
            else residuals
        )
        self.engine = make_engine(self.model, torch.from_numpy(rows), accumulate=residuals is not None)
        self.mean = torch.zeros(self.model.num_parameters)
        self.model.parameters.grad = self.mean
        self._gradients, self._mean = rows, self.mean.numpy()
        self.optimizer = torch.optim.SGD(
            [self.model.parameters],
            config.peak_learning_rate,
            config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
        self.steps_per_epoch = len(dataset.train) // config.batch_size
        self.num_steps = self.steps_per_epoch * config.epochs
        self._epoch = -1

    def step(self, step: int, watch: Stopwatch) -> float:
        """Take one step and return the mean loss over the nodes; not finite if the run has diverged."""
        images, labels = self.batch(step)
        watch.split("other_s")
        loss = float(self.engine.compute(images, labels).mean())
        watch.split("compute_s")
        if self.engine.accumulate:
            self.algorithm.agree_on_residuals(step, self._mean)
        else:
            self.algorithm.agree(self._gradients, step, self._mean)
        watch.split("quantize_s")
        config = self.config
        self.optimizer.param_groups[0]["lr"] = learning_rate(
            step, self.num_steps, config.peak_learning_rate, config.warmup, config.schedule
        )
        self.optimizer.step()
        return loss

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the global batch of a step: the same at every N; node i takes share i."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch != epoch:
            self._begin_epoch(epoch)
        size = self.config.batch_size
        return self.dataset.train.batch(self._order[index * size : (index + 1) * size], self._placements)

    def _begin_epoch(self, epoch: int) -> None:
        """Draw the order of the images, and where each is cropped and flipped."""
        seed, count = self.config.seed, len(self.dataset.train)
        self._epoch = epoch
        self._order = torch.from_numpy(generator(seed, Purpose.DATA_ORDER, epoch).permutation(count))
        self._placements = draw_placements(count, seed, epoch) if self.config.augmentation else None

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return (arrays, scalars) from which `load` continues bit for bit."""
        snapshot = {f"model{i}": t.numpy() for i, t in enumerate(self.model.snapshot())}
        arrays: Arrays = {**snapshot, **self._residuals()}
        momentum = self.optimizer.state[self.model.parameters].get("momentum_buffer")
        if momentum is not None:
            arrays["momentum"] = momentum.numpy()
        return arrays, {"tally": self.algorithm.tally.to_dict()}

    def load(self, arrays: Arrays, scalars: dict[str, Any]) -> None:
        """Take up the state of an earlier trainer of the same configuration."""
        count = sum(name.startswith("model") for name in arrays)
        self.model.restore([torch.from_numpy(arrays[f"model{i}"]) for i in range(count)])
        for name, residual in self._residuals().items():
            residual[:] = arrays[name]
        if "momentum" in arrays:
            momentum = torch.from_numpy(arrays["momentum"].copy())
            self.optimizer.state[self.model.parameters]["momentum_buffer"] = momentum
        self.algorithm.tally = Tally.from_dict(scalars["tally"])

    def _residuals(self) -> Arrays:
        residuals = self.algorithm.residuals
        return {} if residuals is None else {"residuals": residuals}
