"""Local SGD: nodes take steps of their own, and average their models at the end of a round.

From every step (synchronous) to one exchange at the end (one-shot averaging). What a node sends is x - x_i,
its model's difference from where the round began, so that any compressor fits; all nodes go on from x minus
the mean.

References
----------
Stich: Local SGD converges fast and communicates little. ICLR 2019.
Spiridonoff, Olshevsky, Paschalidis: Communication-efficient SGD: from local SGD to one-shot averaging.
NeurIPS 2021.
Lin, Stich, Patel, Jaggi: Don't use large mini-batches, use local SGD. ICLR 2020 (post-local SGD).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.protocol import (
    Algorithm,
    Arrays,
    Hyperparameters,
    compressors_view,
    momentum_arrays,
    restore_momentum,
)
from qsgd_lab.algorithms.rounds import OPTIONS, Rounds
from qsgd_lab.compressors import FullPrecision
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option

MOMENTA = ("kept", "reset", "averaged")


class LocalSGD(Algorithm):
    """N models, each with its own momentum; between exchanges they know nothing of each other.

    Weight decay acts on the local model. Evaluated is the mean of the models, which is sent for nothing.

    Parameters
    ----------
    momentum : {"kept", "reset", "averaged"}
        At an exchange: a node goes on with its own, begins again, or with the mean over the nodes, which is
        sent in float32 beside the models and counted.
    **rounds
        As `Rounds`.
    """

    replicas = True
    is_elementwise = True

    def __init__(self, momentum: str = "kept", **rounds: Any) -> None:
        if momentum not in MOMENTA:
            raise ValueError(f"momentum is {momentum!r}; it must be one of: {', '.join(MOMENTA)}")
        self.momentum, self.rounds = momentum, Rounds(**rounds)
        self.round_end = 0

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n)."""
        self.parameters, self.exchange = parameters, exchange
        self.anchor = parameters[0].clone()
        self.mean, self.difference = torch.zeros_like(self.anchor), torch.empty_like(parameters)
        self.rounds.begin(settings.num_steps)
        # A tensor a node: torch rounds the last coordinates of a tensor otherwise than the others, so that a
        # node on a rank of its own would differ. Fused: one pass over memory, three times as fast.
        self.models = list(parameters.unbind())
        self.optimizer = torch.optim.SGD(
            self.models,
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
            fused=True,
        )
        self._averages_momentum = self.momentum == "averaged" and settings.momentum > 0
        self._momentum_exchange = exchange.fork(FullPrecision()) if self._averages_momentum else None

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Take a step at every node, and exchange where the round ends."""
        if step >= self.round_end:
            self.round_end = self.rounds.end(step, rate)
        for model, gradient in zip(self.models, gradients, strict=True):
            model.grad = gradient
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        if step + 1 == self.round_end:
            self.agree(step)

    def agree(self, step: int) -> None:
        """End the round: average the differences, and let all nodes go on from the same model."""
        torch.sub(self.anchor, self.parameters, out=self.difference)
        self.send(step)
        self.move_anchor()
        self.parameters.copy_(self.anchor.expand_as(self.parameters))
        self._end_momentum(step)

    def send(self, step: int) -> None:
        """Write the mean of the differences, as they are sent."""
        self.exchange.mean(compressors_view(self.difference), step, compressors_view(self.mean))

    def move_anchor(self) -> None:
        """Take the mean of the differences off the model that the round began with."""
        self.anchor -= self.mean

    def _end_momentum(self, step: int) -> None:
        momenta = [self.optimizer.state[model].get("momentum_buffer") for model in self.models]
        if momenta[0] is None or self.momentum == "kept":
            return
        mean = torch.zeros_like(self.anchor)
        if self._momentum_exchange is not None:
            self._momentum_exchange.mean(compressors_view(torch.stack(momenta)), step, compressors_view(mean))
        for momentum in momenta:
            momentum.copy_(mean)

    def consensus(self) -> torch.Tensor:
        """Return the mean of the models; in the middle of a round no node has it."""
        mean: torch.Tensor = self.exchange.all_rows(self.parameters).mean(dim=0)
        return mean

    def arrays(self) -> Arrays:
        """Return the momenta, the model that the round began with, and when the round ends."""
        momenta = [momentum_arrays(self.optimizer, model) for model in self.models]
        kept = {f"{name}{i}": array for i, arrays in enumerate(momenta) for name, array in arrays.items()}
        return {**kept, "anchor": self.anchor.cpu().numpy(), "round_end": np.array(self.round_end)}

    def restore(self, arrays: Arrays) -> None:
        """Continue in the middle of a round."""
        for i, model in enumerate(self.models):
            if f"momentum{i}" in arrays:
                restore_momentum(self.optimizer, model, {"momentum": arrays[f"momentum{i}"]})
        self.anchor.copy_(torch.from_numpy(np.array(arrays["anchor"])))
        self.round_end = int(arrays["round_end"])


def label_of(options: Mapping[str, Any]) -> str:
    """Return the row's name in tables."""
    momentum = "" if options["momentum"] == "kept" else f", momentum {options['momentum']}"
    return f"local SGD ({schedule_label(options)}{momentum})"


def schedule_label(options: Mapping[str, Any]) -> str:
    """Return the schedule of a spec's options in words."""
    return str(Rounds(**{option.name: options[option.name] for option in OPTIONS}))


METHOD = Method(
    "local-sgd",
    LocalSGD,
    (*OPTIONS, Option("momentum", str, "kept", "a node's momentum at an exchange", MOMENTA)),
    label_of,
    summary="local steps; the differences of the models are averaged at the end of a round",
    source="Stich, ICLR 2019; Spiridonoff et al., NeurIPS 2021",
    theory="qsgd_lab.theory.local_sgd",
)
