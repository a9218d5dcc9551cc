"""The interface of a training algorithm: it owns the update, and exchanges what it wants to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.algorithms.contraction import unknown_contraction
from qsgd_lab.compressors.protocol import Compressor
from qsgd_lab.compressors.stacking import missing_feedback
from qsgd_lab.exchange.protocol import Exchange

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Hyperparameters:
    """What every algorithm is told of the optimizer.

    Attributes
    ----------
    learning_rate : float
        Peak of the schedule; each step is told its own rate.
    momentum, weight_decay : float
    nesterov : bool
    num_steps : int
        Steps of the whole run.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    num_steps: int = 0


class Oracle(Protocol):
    """Gradients besides those of a step, at points of the algorithm's own; the caller of `step` has it."""

    def again(self, point: torch.Tensor) -> torch.Tensor:
        """Return the gradients of the step's examples at another point, the same for all nodes.

        Parameters
        ----------
        point : torch.Tensor
            Shape (n,).

        Returns
        -------
        torch.Tensor
            Shape (len(local), n), of the type of the point.
        """

    def full(self, point: torch.Tensor) -> torch.Tensor:
        """Return the gradients of all examples of each local node at a point, shape (len(local), n)."""


class Algorithm(ABC):
    """Updates the parameters of one run; made once a run, from the options of its spec.

    Attributes
    ----------
    replicas : bool
        False: one parameter vector, shape (n,), that all nodes share. True: one a node, shape (N, n).
    is_elementwise : bool
        Whether coordinate j of what `step` does depends on coordinate j of its arrays alone, exchanges aside.
        Repetitions of a problem then share one object, side by side in long vectors.
    keeps_errors : bool
        Whether what the compressor does not send is kept, and sent later.
    needs_oracle : bool
        Whether `oracle` must be set before `begin`.
    uses_server : bool
        Whether it calls `Exchange.server`, so that what nodes receive is a server's message.
    """

    replicas: ClassVar[bool] = False
    is_elementwise: ClassVar[bool] = False
    keeps_errors: bool = False
    needs_oracle: ClassVar[bool] = False
    uses_server: ClassVar[bool] = False
    oracle: Oracle

    def check_compressor(self, compressor: Compressor) -> None:  # noqa: B027 (most take any)
        """Refuse a compressor that the algorithm cannot exchange by; called before any run.

        Raises
        ------
        ValueError
            In one line, with what would be right.
        """

    def check_steps(self, num_steps: int) -> None:  # noqa: B027 (most take any)
        """Refuse a number of steps that the algorithm's rounds do not fit into; called before any run.

        Raises
        ------
        ValueError
            In one line, with what would be right.
        """

    def warnings(self, compressor: Compressor) -> Iterator[str]:
        """Yield a line for whatever the theory or measurements say against the two together."""
        yield from unknown_contraction(compressor) if self.keeps_errors else missing_feedback(compressor)

    @abstractmethod
    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters; they are updated in place from now on.

        They are float32 in training, and float64 on problems with a known optimum.
        """

    @property
    def gradient_buffer(self) -> Any:
        """The array to which a step's gradients are to be added; None where each step gets its own."""
        return None

    @abstractmethod
    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Update the parameters.

        Parameters
        ----------
        gradients : torch.Tensor
            float32, shape (N, n): row i is of node i's share of the batch, at node i's parameters. Where
            `gradient_buffer` is an array, they have been added to it, and this is the same memory.
        step : int
            Counts from 0.
        rate : float
            The learning rate of this step.
        """

    @abstractmethod
    def consensus(self) -> torch.Tensor:
        """Return the parameters that are evaluated, float32, shape (n,)."""

    def arrays(self) -> Arrays:
        """Return what a checkpoint keeps besides the parameters and the exchange."""
        return {}

    def restore(self, arrays: Arrays) -> None:  # noqa: B027 (most algorithms keep nothing)
        """Continue from `arrays`; parameters have been restored."""


def compressors_view(tensor: torch.Tensor) -> Any:
    """Return a tensor as compressors take it: a NumPy view on a CPU, on a device the tensor itself."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def momentum_arrays(optimizer: torch.optim.Optimizer, parameters: torch.Tensor) -> Arrays:
    """Return the momentum of a torch optimizer, under the name "momentum"; nothing before its first step."""
    momentum = optimizer.state[parameters].get("momentum_buffer")
    return {} if momentum is None else {"momentum": momentum.cpu().numpy()}


def restore_momentum(optimizer: torch.optim.Optimizer, parameters: torch.Tensor, arrays: Arrays) -> None:
    """Give an optimizer the momentum of `momentum_arrays`."""
    if "momentum" in arrays:
        momentum = torch.from_numpy(np.array(arrays["momentum"])).to(parameters.device)
        optimizer.state[parameters]["momentum_buffer"] = momentum
