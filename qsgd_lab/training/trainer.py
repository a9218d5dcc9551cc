"""One run's state and its steps: gradients at N nodes, agreement, SGD."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.algorithms.protocol import Hyperparameters, compressors_view
from qsgd_lab.data import Dataset
from qsgd_lab.data.augmentation import draw_placements
from qsgd_lab.data.node_split import IID, node_split
from qsgd_lab.exchange import SimulatedExchange, TwoPhaseExchange
from qsgd_lab.models import make_model
from qsgd_lab.models.dropout import open_dropout_streams
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.runs.config import TWO_PHASE, RunConfig
from qsgd_lab.stream import Purpose, generator
from qsgd_lab.training.checkpoint import Arrays
from qsgd_lab.training.devices import Precision
from qsgd_lab.training.engines.choose import make_engine
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.methods import algorithm_of, compressor_of
from qsgd_lab.training.oracle import TrainerOracle
from qsgd_lab.training.schedule import learning_rate
from qsgd_lab.training.stopwatch import Stopwatch


class Trainer:
    """The model, the nodes and the optimizer of a run; everything follows from the configuration.

    Parameters
    ----------
    config : RunConfig
    dataset : Dataset
        In the memory of the device that computes the run.
    device : torch.device, optional
        Where model, gradients, residuals and momentum live; by default the CPU.

    Attributes
    ----------
    gradients : torch.Tensor
        float32, shape (N, n): of the last step, before quantization; with error feedback what is then still
        to be sent.
    exchange : Exchange
    algorithm : Algorithm
    parameters : torch.Tensor
        What the algorithm updates, float32: shape (n,), or (N, n) where every node has its own.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, device: torch.device | None = None) -> None:
        self.config, self.dataset, self.device = config, dataset, device or torch.device("cpu")
        module = make_model(config.model, dataset.inputs)
        initialise(module, config.seed)  # on the host, so that the first parameters are the same everywhere
        self.model = FlatModel(module.train().to(self.device))
        self.steps_per_epoch = len(dataset.train) // config.batch_size
        self.num_steps = self.steps_per_epoch * config.epochs
        self.exchange = self._make_exchange()
        if self.device.type == "cpu":
            self.exchange.warm_up()
        self.algorithm = algorithm_of(config)
        if self.algorithm.needs_oracle:
            self.algorithm.oracle = TrainerOracle(self)
        self.parameters = self._make_parameters()
        self.algorithm.begin(self.parameters, self.exchange, self._hyperparameters())
        self.gradients, accumulate = self._make_gradients()
        self.precision = Precision(config.precision)
        self.engine = make_engine(
            self.model,
            self.gradients,
            config.batch_size,
            inputs=dataset.inputs,
            engine=config.engine,
            accumulate=accumulate,
            precision=self.precision,
            replicas=self.parameters if self.algorithm.replicas else None,
        )
        self._epoch = -1
        self._examples = None
        if config.split != IID:
            labels = dataset.train.labels.cpu().numpy()
            self._examples = node_split(labels, config.nodes, config.split, config.seed)

    def _make_exchange(self) -> Any:
        """Return how the nodes agree."""
        config = self.config
        kind = TwoPhaseExchange if config.collective == TWO_PHASE else SimulatedExchange
        return kind(
            compressor_of(config),
            config.nodes,
            config.seed,
            self.model.layout,
            like=compressors_view(self.model.parameters),
        )

    def _make_parameters(self) -> torch.Tensor:
        """Return what the algorithm updates: the model's vector itself, or a replica of it for each node."""
        if not self.algorithm.replicas:
            return self.model.parameters
        return self.model.parameters.repeat(len(self.exchange.local), 1)

    def _hyperparameters(self) -> Hyperparameters:
        config = self.config
        return Hyperparameters(
            config.peak_learning_rate, config.momentum, config.weight_decay, config.nesterov, self.num_steps
        )

    def _make_gradients(self) -> tuple[torch.Tensor, bool]:
        """Return the buffer of the nodes' gradients, and whether gradients are added to what it holds."""
        buffer = self.algorithm.gradient_buffer
        if buffer is not None:
            return (torch.from_numpy(buffer) if self.device.type == "cpu" else buffer), True
        rows = torch.zeros(len(self.exchange.local), self.model.num_parameters, device=self.device)
        return rows, False

    def step(self, step: int, watch: Stopwatch) -> torch.Tensor:
        """Take one step and return the mean loss over the nodes; not finite if the run has diverged.

        On a device the loss is not waited for: it is a tensor there, with one element.
        """
        images, labels = self.batch(step)
        watch.split("other_s")
        return self.step_on(images, labels, step, watch)

    def step_on(
        self, images: torch.Tensor, labels: torch.Tensor, step: int, watch: Stopwatch
    ) -> torch.Tensor:
        """Take a step on a global batch of the caller's."""
        self.last_batch = images, labels, step
        loss = self.compute_gradients(images, labels, step).mean()
        watch.split("compute_s")
        config = self.config
        rate = learning_rate(step, self.num_steps, config.peak_learning_rate, config.warmup, config.schedule)
        self.exchange.after_mean = partial(watch.split, "quantize_s")
        self.algorithm.step(self.gradients, step, rate)
        return loss

    def compute_gradients(self, images: torch.Tensor, labels: torch.Tensor, step: int) -> torch.Tensor:
        """Bring `gradients` up to date with a global batch, and return the nodes' mean losses, shape (N,)."""
        open_dropout_streams(self.model.module, self.config.seed, step)
        return self.engine.compute(self.precision.lay_out(images), labels)

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
        self._order = torch.from_numpy(self._draw_order(epoch)).to(self.device)
        placed = self.config.augmentation is not None
        self._placements = draw_placements(count, seed, epoch).to(self.device) if placed else None

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch in their order: of every global batch share i is node i's."""
        random = generator(self.config.seed, Purpose.DATA_ORDER, epoch)
        if self._examples is None:
            return random.permutation(len(self.dataset.train))
        share = self.config.batch_size // self.config.nodes
        own = random.permuted(self._examples, axis=1)[:, : self.steps_per_epoch * share]
        by_step = own.reshape(len(own), self.steps_per_epoch, share).swapaxes(0, 1)
        return np.ascontiguousarray(by_step).reshape(-1)

    def examples_of_nodes(self) -> torch.Tensor:
        """Return the training examples of each node, int64, shape (N, m // N), where the model is."""
        nodes, count = self.config.nodes, len(self.dataset.train)
        own = self._examples
        if own is None:
            own = np.arange(count - count % nodes).reshape(nodes, -1)
        return torch.from_numpy(own).to(self.device)

    def show_consensus(self) -> FlatModel:
        """Return the model with the parameters that are evaluated."""
        if self.algorithm.replicas:
            self.model.parameters.copy_(self.algorithm.consensus())
            self.model.bind(self.model.parameters)
        return self.model

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return (arrays, scalars) from which `load` continues bit for bit."""
        arrays: Arrays = {f"model{i}": t.cpu().numpy() for i, t in enumerate(self.model.snapshot())}
        if self.algorithm.replicas:
            arrays["replicas"] = self.parameters.cpu().numpy()
        arrays |= {f"exchange.{name}": array for name, array in self.exchange.arrays().items()}
        arrays |= {f"algorithm.{name}": array for name, array in self.algorithm.arrays().items()}
        return arrays, {"traffic": self.exchange.traffic.to_dict()}

    def load(self, arrays: Arrays, scalars: dict[str, Any]) -> None:
        """Continue from the state of an earlier trainer of the same configuration."""
        count = sum(name.startswith("model") for name in arrays)
        self.model.restore([torch.from_numpy(arrays[f"model{i}"]) for i in range(count)])
        if self.algorithm.replicas:
            self.parameters.copy_(torch.from_numpy(arrays["replicas"]))
        self.exchange.restore(_below("exchange.", arrays))
        self.algorithm.restore(_below("algorithm.", arrays))
        self.exchange.traffic.restore(scalars["traffic"])


def _below(prefix: str, arrays: Arrays) -> Arrays:
    """Return the arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
