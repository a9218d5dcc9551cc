"""DiLoCo: local SGD whose mean difference is a gradient for an outer SGD with Nesterov momentum.

The difference x - x_i is compressed as it is, or with a feedback that decays: e <- decay (what was not sent).

References
----------
Douillard et al.: DiLoCo: distributed low-communication training of language models. 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.contraction import require_contraction
from qsgd_lab.algorithms.local_sgd import LocalSGD, schedule_label
from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters, compressors_view
from qsgd_lab.algorithms.rounds import OPTIONS
from qsgd_lab.compressors import Compressor
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option

#: Coordinates on which contractions are judged before any model is known, and what counts as sparse.
MANY, SPARSE = 2**20, 0.2


class DiLoCo(LocalSGD):
    """Inner: the run's own SGD, its momentum kept. Outer: buf <- mu buf + g; x -= rate (g + mu buf).

    Parameters
    ----------
    outer_rate, outer_momentum : float
        1 and 0 give local SGD. Together they move x by rate / (1 - mu) times a lasting difference.
    feedback : float
        Share of what was not sent that is added to the next difference; 0 forgets it.
    **rounds
        As `qsgd_lab.algorithms.rounds.Rounds`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    is_elementwise = True

    def __init__(
        self, outer_rate: float = 0.7, outer_momentum: float = 0.9, feedback: float = 0.0, **rounds: Any
    ) -> None:
        if not 0 < outer_rate < float("inf") or not 0 <= outer_momentum < 1 or not 0 <= feedback <= 1:
            raise ValueError("outer_rate must be above 0, outer_momentum in [0, 1), and feedback in [0, 1]")
        super().__init__(momentum="kept", **rounds)
        self.outer_rate, self.outer_momentum, self.feedback = outer_rate, outer_momentum, feedback
        self.keeps_errors = feedback > 0

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse feedback around what has residuals of its own, or no contraction."""
        if self.feedback:
            require_contraction(compressor)

    def warnings(self, compressor: Compressor) -> Iterator[str]:
        """Warn of long outer steps on errors that come late: of a loss that rose from .87 to 50 so."""
        yield from super().warnings(compressor)
        step, contraction = self.outer_rate / (1 - self.outer_momentum), compressor.contraction(MANY)
        if self.feedback and step > 1 and contraction is not None and contraction < SPARSE:
            yield (
                f"the outer step, {self.outer_rate:g} / (1 - {self.outer_momentum:g}) = {step:.3g}, meets "
                f"errors that a contraction of {contraction:.2g} sends late; above 1 the loss can grow "
                "(lower outer_momentum or outer_rate)"
            )

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n)."""
        super().begin(parameters, exchange, settings)
        self.outer_buffer = torch.zeros_like(self.anchor)
        self.memory = torch.zeros_like(parameters) if self.feedback else None

    def send(self, step: int) -> None:
        """Write the mean of the differences, as they are sent."""
        if self.memory is None:
            super().send(step)
            return
        self.memory.mul_(self.feedback).add_(self.difference)
        self.exchange.partial_mean(compressors_view(self.memory), step, compressors_view(self.mean))

    def move_anchor(self) -> None:
        """Take an outer step along the mean of the differences."""
        self.outer_buffer.mul_(self.outer_momentum).add_(self.mean)
        self.anchor -= self.outer_rate * (self.mean + self.outer_momentum * self.outer_buffer)

    def arrays(self) -> Arrays:
        """Return the outer momentum and the feedback as well."""
        own = {"outer_buffer": self.outer_buffer, "memory": self.memory}
        return {**super().arrays(), **{k: v.cpu().numpy() for k, v in own.items() if v is not None}}

    def restore(self, arrays: Arrays) -> None:
        """Continue in the middle of a round."""
        super().restore(arrays)
        self.outer_buffer.copy_(torch.from_numpy(np.array(arrays["outer_buffer"])))
        if self.memory is not None:
            self.memory.copy_(torch.from_numpy(np.array(arrays["memory"])))


def _label(options: Mapping[str, Any]) -> str:
    feedback = f", feedback {options['feedback']:g}" if options["feedback"] else ""
    outer = f"{options['outer_rate']:g}, {options['outer_momentum']:g}"
    return f"DiLoCo ({schedule_label(options)}, outer {outer}{feedback})"


METHOD = Method(
    "diloco",
    DiLoCo,
    (
        Option("outer_rate", float, 0.7, "learning rate of the outer step"),
        Option("outer_momentum", float, 0.9, "Nesterov momentum of the outer step"),
        Option("feedback", float, 0.0, "share of what was not sent that is kept for the next round"),
        *OPTIONS,
    ),
    _label,
    summary="local steps; an outer SGD with Nesterov momentum takes the mean difference of the models",
    source="Douillard et al. 2023",
)
