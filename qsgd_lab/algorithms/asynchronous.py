"""Asynchronous SGD with bounded delay: gradients of older models, at a server.

In each update the server uses one gradient of every node, taken at the model of d_i updates ago, d_i at most
tau. Delays follow from a schedule and shared random words, never from how long anything took. Up go the
gradients, through the run's compressor; down goes the model, in float32 or as a compressed difference to
what the nodes hold.

The recalled bound (Lian et al. 2015) holds for the *sum* of M gradients with its step; with the mean, as
by default here, the same step is M times as large. Below the limit of stability,
rate L < 2 sin(pi / (2 (2 tau + 1))) for a constant delay, the delay does not enter the bound.

References
----------
Lian, Huang, Li, Liu: Asynchronous parallel stochastic gradient for nonconvex optimization. NeurIPS 2015.
Alistarh et al.: QSGD. NeurIPS 2017 (its appendix; recalled).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.algorithms.contraction import require_contraction, unknown_contraction
from qsgd_lab.algorithms.protocol import (
    Algorithm,
    Arrays,
    Hyperparameters,
    compressors_view,
    momentum_arrays,
    restore_momentum,
)
from qsgd_lab.compressors import COMPRESSORS, Compressor, FullPrecision
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option
from qsgd_lab.wire.key import SHARED_NODE, Key, Purpose, words

SCHEDULES = ("constant", "turns", "random")


def delays(schedule: str, tau: int, step: int, nodes: int) -> NDArray[np.int64]:
    """Return the nodes' delays in an update, int64, shape (N,): at most min(step, tau).

    constant: tau. turns: node i's is i modulo tau + 1. random: even in 0..tau, by shared words, the same in
    every run.
    """
    if schedule == "constant":
        wanted = np.full(nodes, tau)
    elif schedule == "turns":
        wanted = np.arange(nodes) % (tau + 1)
    else:
        drawn = words(Key(0, SHARED_NODE, step), Purpose.DELAY, nodes)
        wanted = (drawn.astype(np.uint64) * np.uint64(tau + 1) >> np.uint64(32)).astype(np.int64)
    return np.asarray(np.minimum(wanted, step), np.int64)


class Asynchronous(Algorithm):
    """A server's model, its last tau + 1 versions, and gradients taken at them.

    Parameters
    ----------
    tau : int
        The largest delay, in updates.
    schedule : {"constant", "turns", "random"}
    combine : {"mean", "sum"}
        Of the N gradients of an update.
    down : str
        Compressor of what the server sends, of the difference to what the nodes hold; none: float32 models.
        A contraction, since what a message lacks is in the next difference.
    """

    replicas = True
    is_elementwise = True
    uses_server = True

    def __init__(
        self, tau: int = 1, schedule: str = "constant", combine: str = "mean", down: str = ""
    ) -> None:
        if not 0 <= tau <= 1000:
            raise ValueError(f"tau is {tau}; it must be from 0 to 1000")
        self.tau, self.schedule, self.combine = tau, schedule, combine
        self.down = COMPRESSORS.parse(down).make() if down else None
        if self.down is not None:  # what a message lacks is in the next
            require_contraction(self.down)

    def warnings(self, compressor: Compressor) -> Iterator[str]:
        """Warn of what is sent down if it is not known to be a contraction."""
        yield from super().warnings(compressor)
        if self.down is not None:
            yield from (f"down: {line}" for line in unknown_contraction(self.down))

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n): where the nodes take their gradients."""
        self.rows, self.exchange = parameters, exchange
        self.server = parameters[0].clone()
        #: What the nodes hold of the last tau + 1 versions; version t is in row t modulo tau + 1.
        self.held = self.server.repeat(self.tau + 1, 1)
        self.mean = torch.zeros_like(self.server)
        self.server.grad = torch.zeros_like(self.server)
        self.factor = float(exchange.nodes) if self.combine == "sum" else 1.0
        self.optimizer = torch.optim.SGD(
            [self.server],
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        self.downlink = exchange.server(self.down or FullPrecision())

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Update the model at the server, send it, and put the nodes where they take their next gradients."""
        self.exchange.at_rate(rate)
        self.exchange.mean(compressors_view(gradients), step, compressors_view(self.mean))
        assert self.server.grad is not None
        torch.mul(self.mean, self.factor, out=self.server.grad)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        last, new = self.held[step % (self.tau + 1)], self.held[(step + 1) % (self.tau + 1)]
        if self.down is None:
            self._send_down(self.server, step, new)
        else:
            # The difference to what is held, so that what one message lacks is in the next.
            self._send_down(self.server - last, step, self.mean)
            torch.add(last, self.mean, out=new)
        self._place(step + 1)

    def _send_down(self, vector: torch.Tensor, step: int, out: torch.Tensor) -> None:
        self.downlink.mean(compressors_view(vector[None]), step, compressors_view(out))

    def _place(self, step: int) -> None:
        """Give each node the version that its gradient of an update is taken at."""
        versions = step - delays(self.schedule, self.tau, step, self.exchange.nodes)
        places = versions[list(self.exchange.local)] % (self.tau + 1)
        torch.index_select(self.held, 0, torch.from_numpy(places).to(self.held.device), out=self.rows)

    def consensus(self) -> torch.Tensor:
        """Return the server's model."""
        return self.server

    def arrays(self) -> Arrays:
        """Return the server's model, its versions, and the momentum."""
        models = {"server": self.server.detach().cpu().numpy(), "held": self.held.cpu().numpy()}
        down = {f"down.{name}": array for name, array in self.downlink.arrays().items()}
        return {**momentum_arrays(self.optimizer, self.server), **models, **down}

    def restore(self, arrays: Arrays) -> None:
        """Continue between two updates."""
        restore_momentum(self.optimizer, self.server, arrays)
        self.server.copy_(torch.from_numpy(np.array(arrays["server"])))
        self.held.copy_(torch.from_numpy(np.array(arrays["held"])))
        down = {name: array for name, array in arrays.items() if name.startswith("down.")}
        self.downlink.restore({name.removeprefix("down."): array for name, array in down.items()})


def _label(options: Mapping[str, Any]) -> str:
    words_ = [f"delay {options['tau']}"]
    words_ += [options["schedule"]] if options["schedule"] != "constant" else []
    words_ += ["sum"] if options["combine"] == "sum" else []
    words_ += [f"down {options['down']}"] if options["down"] else []
    return f"asynchronous ({', '.join(words_)})"


METHOD = Method(
    "asynchronous",
    Asynchronous,
    (
        Option("tau", int, 1, "largest delay, in updates"),
        Option("schedule", str, "constant", "how old the models are that gradients are taken at", SCHEDULES),
        Option("combine", str, "mean", "of the nodes' gradients in an update", ("mean", "sum")),
        Option(
            "down",
            str,
            "",
            "compressor of the model's difference to what nodes hold; none: the model in float32",
            names=lambda: COMPRESSORS,
        ),
    ),
    _label,
    summary="a server's updates by gradients of older models, with a bounded delay",
    source="Lian et al., NeurIPS 2015; Alistarh et al. 2017, appendix",
    theory="qsgd_lab.theory.asynchronous",
)
