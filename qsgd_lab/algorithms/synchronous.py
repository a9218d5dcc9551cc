"""Synchronous SGD with compressed gradients: every node sends, everyone steps along the mean."""

from __future__ import annotations

from typing import Any

import torch

from qsgd_lab.algorithms.protocol import (
    Algorithm,
    Arrays,
    Hyperparameters,
    compressors_view,
    momentum_arrays,
    restore_momentum,
)
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method


class Synchronous(Algorithm):
    """Every step: the nodes' compressed gradients are averaged, and SGD with momentum takes the mean.

    References
    ----------
    Alistarh et al. 2017, algorithm 1.
    """

    is_elementwise = True

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,)."""
        self.parameters, self.exchange = parameters, exchange
        self.mean = torch.zeros_like(parameters)
        parameters.grad = self.mean
        self.optimizer = torch.optim.SGD(
            [parameters],
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        self._mean_view = compressors_view(self.mean)

    @property
    def gradient_buffer(self) -> Any:
        """The residuals of error feedback, where there are any: one buffer and one pass over memory less."""
        return self.exchange.buffer

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Average the gradients and take an SGD step along the mean."""
        self.exchange.at_rate(rate)
        self.agree(None if self.exchange.buffer is not None else gradients, step)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    def agree(self, gradients: torch.Tensor | None, step: int) -> None:
        """Write the gradient that all step along; None where gradients are in the exchange's buffer."""
        vectors = None if gradients is None else compressors_view(gradients)
        self.exchange.mean(vectors, step, self._mean_view)

    def consensus(self) -> torch.Tensor:
        """Return the parameters, which all nodes share."""
        return self.parameters

    def arrays(self) -> Arrays:
        """Return the momentum."""
        return momentum_arrays(self.optimizer, self.parameters)

    def restore(self, arrays: Arrays) -> None:
        """Continue with the momentum."""
        restore_momentum(self.optimizer, self.parameters, arrays)


METHOD = Method(
    "synchronous",
    Synchronous,
    (),
    lambda _: "",
    summary="every step averages the nodes' compressed gradients",
    source="Alistarh et al. 2017, algorithm 1",
)
