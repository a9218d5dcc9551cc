"""Large batches: gradients of H steps are summed at one point, and exchanged in one message.

The baseline that every method with fewer messages must beat: as many gradients and as few bits, and no local
step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters, compressors_view
from qsgd_lab.algorithms.rounds import DEFAULT_INTERVAL
from qsgd_lab.algorithms.synchronous import Synchronous
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option


class Minibatch(Synchronous):
    """Every H steps: one step of SGD along the mean of the nodes' gradients since the last one.

    The rate is that of the round's last step. Weight decay and momentum act once a round.

    Parameters
    ----------
    interval : int
        H, at least 1.
    """

    def __init__(self, interval: int = DEFAULT_INTERVAL) -> None:
        if interval < 1:
            raise ValueError(f"interval is {interval}; it must be at least 1")
        self.interval = interval

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,); nothing is summed yet."""
        super().begin(parameters, exchange, settings)
        shape = (len(exchange.local), parameters.shape[0])
        self.sums, self.count = parameters.new_zeros(shape), 0
        self.num_steps = settings.num_steps

    @property
    def gradient_buffer(self) -> Any:
        """None: sums are kept here."""
        return

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Add gradients to the sums, and take a step along their mean where the round ends."""
        self.sums += gradients
        self.count += 1
        if self.count < self.interval and step + 1 != self.num_steps:
            return
        self.exchange.at_rate(rate)
        self.sums /= self.count
        self.exchange.mean(compressors_view(self.sums), step, self._mean_view)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.sums.zero_()
        self.count = 0

    def arrays(self) -> Arrays:
        """Return the momentum, the sums and how many gradients they have."""
        return {**super().arrays(), "sums": self.sums.cpu().numpy(), "count": np.array(self.count)}

    def restore(self, arrays: Arrays) -> None:
        """Continue in the middle of a round."""
        super().restore(arrays)
        self.sums.copy_(torch.from_numpy(np.array(arrays["sums"])))
        self.count = int(arrays["count"])


METHOD = Method(
    "minibatch",
    Minibatch,
    (Option("interval", int, DEFAULT_INTERVAL, "H, steps whose gradients make one message"),),
    lambda options: f"minibatch (H = {options['interval']})",
    summary="gradients of H steps are summed at one point and sent as one",
    source="Dekel et al., JMLR 2012",
)
