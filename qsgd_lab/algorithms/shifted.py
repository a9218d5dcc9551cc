"""EF21 and DIANA: what is compressed is the difference to what the server already has of a node.

Both keep a vector for each node, which node and server update alike, and which comes to be the node's
gradient at the optimum: unlike nodes do no harm, and messages vanish. EF21 takes any contraction:
g_i += C(grad f_i - g_i), and steps along mean g_i. DIANA takes an unbiased compressor: with
m_i = Q(grad f_i - h_i) it steps along h + mean m_i, and h_i += alpha m_i.

References
----------
Richtarik, Sokolov, Fatkhullin: EF21: a new, simpler, theoretically better, and practically faster error
feedback. NeurIPS 2021.
Mishchenko, Gorbunov, Takac, Richtarik: Distributed learning with compressed gradient differences. 2019.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.contraction import require_contraction, require_unbiased
from qsgd_lab.algorithms.protocol import (
    Algorithm,
    Arrays,
    Hyperparameters,
    compressors_view,
    momentum_arrays,
    restore_momentum,
)
from qsgd_lab.compressors import Compressor, FullPrecision
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option


class _Shifted(Algorithm):
    """One model; shifts of all nodes, shape (N, n), and their mean, which the server keeps by itself."""

    is_elementwise = True

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,); all shifts are zero."""
        self.parameters, self.exchange = parameters, exchange
        rows = (len(exchange.local), parameters.numel())
        self.shifts = parameters.new_zeros(rows)
        self.rest = torch.empty_like(self.shifts)
        self.shift_mean, self.mean = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.estimate = torch.zeros_like(parameters)
        parameters.grad = self.estimate
        self.optimizer = torch.optim.SGD(
            [parameters],
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Send the differences, move the shifts, and step along the estimate of the gradient."""
        torch.sub(gradients, self.shifts, out=self.rest)
        self.send(gradients, step)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    @abstractmethod
    def send(self, gradients: torch.Tensor, step: int) -> None:
        """Exchange `self.rest`, move the shifts, and write the estimate."""

    def partial(self, exchange: Exchange, step: int) -> None:
        """Leave in `self.rest` what was not sent; the mean of what was is `self.mean`."""
        exchange.partial_mean(compressors_view(self.rest), step, compressors_view(self.mean))

    def consensus(self) -> torch.Tensor:
        """Return the parameters, which all nodes share."""
        return self.parameters

    def arrays(self) -> Arrays:
        """Return the shifts, their mean, and the momentum."""
        shifts = {"shifts": self.shifts.cpu().numpy(), "shift_mean": self.shift_mean.cpu().numpy()}
        return {**momentum_arrays(self.optimizer, self.parameters), **shifts}

    def restore(self, arrays: Arrays) -> None:
        """Continue with the shifts."""
        restore_momentum(self.optimizer, self.parameters, arrays)
        self.shifts.copy_(torch.from_numpy(np.array(arrays["shifts"])))
        self.shift_mean.copy_(torch.from_numpy(np.array(arrays["shift_mean"])))


class EF21(_Shifted):
    """g_i <- g_i + C(grad f_i - g_i); a step along mean g_i. With stochastic gradients the noise stays.

    Parameters
    ----------
    first : {"compressed", "dense"}
        The first message: compressed like the others, or the whole gradient in float32, which is counted.
    """

    def __init__(self, first: str = "compressed") -> None:
        self.first = first

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse what has residuals of its own, or no contraction."""
        require_contraction(compressor)

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,)."""
        super().begin(parameters, exchange, settings)
        self.dense = exchange.fork(FullPrecision()) if self.first == "dense" else None

    def send(self, gradients: torch.Tensor, step: int) -> None:
        """Send the differences; the shifts come nearer to the gradients by what was sent."""
        self.partial(self.dense if self.dense is not None and step == 0 else self.exchange, step)
        torch.sub(gradients, self.rest, out=self.shifts)
        self.shift_mean += self.mean
        self.estimate.copy_(self.shift_mean)


class DIANA(_Shifted):
    """A step along h + mean Q(grad f_i - h_i); h_i and h move by alpha times what was sent.

    Parameters
    ----------
    alpha : float
        0: 1 / (1 + w), w the variance factor of the compressor.
    """

    def __init__(self, alpha: float = 0.0) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; it must be in [0, 1], and 0 takes 1 / (1 + w)")
        self.alpha = alpha

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse a biased compressor, and one whose factor nobody knows where it gives alpha."""
        require_unbiased(compressor)
        if not self.alpha and compressor.variance_factor(1) is None:
            raise ValueError("the compressor's variance factor is not known; give diana(alpha=...)")

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,)."""
        super().begin(parameters, exchange, settings)
        if self.alpha:
            self.rate_of_shifts = self.alpha
        else:
            factor = exchange.variance_factor
            if factor is None:
                raise ValueError("the compressor's variance factor is not known; give diana(alpha=...)")
            self.rate_of_shifts = 1 / (1 + factor)

    def send(self, gradients: torch.Tensor, step: int) -> None:
        """Send the differences; the shifts move along what was sent."""
        self.partial(self.exchange, step)
        torch.add(self.shift_mean, self.mean, out=self.estimate)
        # What was sent is gradient - shift - rest.
        torch.sub(gradients, self.rest, out=self.rest)
        self.shifts.add_(self.rest.sub_(self.shifts), alpha=self.rate_of_shifts)
        self.shift_mean.add_(self.mean, alpha=self.rate_of_shifts)


def _ef21_label(options: Mapping[str, Any]) -> str:
    return "EF21" if options["first"] == "compressed" else "EF21 (dense start)"


METHODS = (
    Method(
        "ef21",
        EF21,
        (
            Option(
                "first", str, "compressed", "the first message, counted either way", ("compressed", "dense")
            ),
        ),
        _ef21_label,
        summary="differences to what the server has of a node are compressed, and added up there",
        source="Richtarik et al., NeurIPS 2021",
        theory="qsgd_lab.theory.shifted",
    ),
    Method(
        "diana",
        DIANA,
        (Option("alpha", float, 0.0, "rate of the shifts; 0: 1 / (1 + w)"),),
        lambda options: "DIANA" if not options["alpha"] else f"DIANA (alpha {options['alpha']:g})",
        summary="unbiased compression of the difference to a shift that learns each node's gradient",
        source="Mishchenko et al. 2019",
        theory="qsgd_lab.theory.shifted",
    ),
)
