"""One run's state and its steps: gradients at N nodes, agreement, SGD."""

from __future__ import annotations

from typing import Any

import torch

from qsgd_lab.algorithms.synchronous import SynchronousAverage
from qsgd_lab.coding.tally import Tally
from qsgd_lab.data import Dataset
from qsgd_lab.data.augmentation import draw_placements
from qsgd_lab.models import MODELS
from qsgd_lab.models.dropout import open_dropout_streams
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.stream import Purpose, generator
from qsgd_lab.training.checkpoint import Arrays
from qsgd_lab.training.devices import Precision
from qsgd_lab.training.engines.choose import make_engine
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
        Lies where the run is computed.
    device : torch.device, optional
        Where model, gradients, residuals and momentum live; by default the CPU.

    Attributes
    ----------
    gradients : torch.Tensor
        float32, shape (N, n): of the last step, before quantization; with error feedback what is then still
        to be sent.
    mean : torch.Tensor
        float32, shape (n,): the agreed gradient of the last step.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, device: torch.device | None = None) -> None:
        self.config, self.dataset, self.device = config, dataset, device or torch.device("cpu")
        module = MODELS[config.model]()
        initialise(module, config.seed)  # on the host, so that the first parameters are the same everywhere
        self.model = FlatModel(module.train().to(self.device))
        self.algorithm = SynchronousAverage(
            compressor_of(config), config.nodes, config.seed, self.model.sizes
        )
        self.gradients = self._make_gradients()
        self.precision = Precision(config.precision)
        self.engine = make_engine(
            self.model,
            self.gradients,
            config.batch_size,
            engine=config.engine,
            accumulate=self.algorithm.residuals is not None,
            precision=self.precision,
        )
        self.mean = torch.zeros(self.model.num_parameters, device=self.device)
        self.model.parameters.grad = self.mean
        self._views = _compressors_view(self.gradients), _compressors_view(self.mean)
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

    def _make_gradients(self) -> torch.Tensor:
        """Return the buffer of the nodes' gradients.

        Under error feedback it is the residuals: gradients are added to what was not sent before. One buffer
        and one pass over memory less.
        """
        residuals = self.algorithm.residuals
        if self.device.type == "cpu":
            self.algorithm.warm_up()
            if residuals is not None:
                return torch.from_numpy(residuals)
        rows = torch.zeros(self.config.nodes, self.model.num_parameters, device=self.device)
        if residuals is not None:
            self.algorithm.adopt_residuals(rows)
        return rows

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
        loss = self.compute_gradients(images, labels, step).mean()
        watch.split("compute_s")
        gradients, mean = self._views
        if self.engine.accumulate:
            self.algorithm.agree_on_residuals(step, mean)
        else:
            self.algorithm.agree(gradients, step, mean)
        watch.split("quantize_s")
        config = self.config
        self.optimizer.param_groups[0]["lr"] = learning_rate(
            step, self.num_steps, config.peak_learning_rate, config.warmup, config.schedule
        )
        self.optimizer.step()
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
        order = torch.from_numpy(generator(seed, Purpose.DATA_ORDER, epoch).permutation(count))
        self._order = order.to(self.device)
        placed = self.config.augmentation is not None
        self._placements = draw_placements(count, seed, epoch).to(self.device) if placed else None

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Return (arrays, scalars) from which `load` continues bit for bit."""
        arrays: Arrays = {f"model{i}": t.cpu().numpy() for i, t in enumerate(self.model.snapshot())}
        if self.engine.accumulate:
            arrays["residuals"] = self.gradients.cpu().numpy()
        momentum = self.optimizer.state[self.model.parameters].get("momentum_buffer")
        if momentum is not None:
            arrays["momentum"] = momentum.cpu().numpy()
        return arrays, {"tally": self.algorithm.tally.to_dict()}

    def load(self, arrays: Arrays, scalars: dict[str, Any]) -> None:
        """Take up the state of an earlier trainer of the same configuration."""
        count = sum(name.startswith("model") for name in arrays)
        self.model.restore([torch.from_numpy(arrays[f"model{i}"]) for i in range(count)])
        if self.engine.accumulate:
            self.gradients.copy_(torch.from_numpy(arrays["residuals"]))
        if "momentum" in arrays:
            momentum = torch.from_numpy(arrays["momentum"].copy()).to(self.device)
            self.optimizer.state[self.model.parameters]["momentum_buffer"] = momentum
        self.algorithm.tally = Tally.from_dict(scalars["tally"])


def _compressors_view(tensor: torch.Tensor) -> Any:
    """Return a tensor as compressors take it: a NumPy view on a CPU, on a device the tensor itself."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor
