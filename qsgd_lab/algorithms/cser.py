"""CSER: every step a part of the updates is averaged, and every H steps a part of the errors is reset.

PSync(v_i, C) sends C(v_i) and gives every node mean C(v_j) + r_i, r_i = v_i - C(v_i). A node's update p_i
goes through PSync with C2; what it kept to itself is its error, e_i -= r_i, so that x_i - e_i is the same at
all nodes. Every H-th step the errors go through PSync with C1. Gradients are taken at the local x_i.

With momentum (M-CSER) p_i is the momentum's update; momentum stays local and is never synchronized. Weight
decay acts on the local model and goes through the compressor.

References
----------
Xie, Zheng, Koyejo, Gupta, Li, Lin: CSER: communication-efficient SGD with error reset. NeurIPS 2020. The
algorithm is recalled; settings and the block form are those of its published code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from qsgd_lab.algorithms.contraction import require_contraction, unknown_contraction
from qsgd_lab.algorithms.directions import Directions
from qsgd_lab.algorithms.protocol import Algorithm, Arrays, Hyperparameters, compressors_view
from qsgd_lab.compressors import COMPRESSORS, Compressor, FullPrecision
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option

#: The authors' R1 of their overall ratios.
_RESET_RATIOS = {32: 4, 256: 16, 1024: 8}


class Plan(NamedTuple):
    """What is sent when: texts of C2 and C1, and H; no C2 sends nothing between resets."""

    gradients: str | None
    resets: str
    interval: int


def _whole_interval(first: int, asked: int, ratio: str) -> str:
    """Return why a reset ratio does not do: the one that was given, or the one by default."""
    kind = "reset_ratio" if asked else "the default reset_ratio"
    return f"{kind} is {first}; it must divide {ratio}, so that H is whole: give reset_ratio=R1 that does"


def planned(ratio: int, reset_ratio: int) -> Plan:
    """Return blocks by the authors' rule: R2 = 2 ratio, H = R2 / R1, so that both parts cost the same.

    Raises
    ------
    ValueError
        If R1 does not divide R2.
    """
    first = reset_ratio or min(_RESET_RATIOS.get(ratio, 8), 2 * ratio)
    if (2 * ratio) % first:
        raise ValueError(_whole_interval(first, reset_ratio, f"2 ratio = {2 * ratio}"))
    return Plan(f"grbs(ratio={2 * ratio})", f"grbs(ratio={first})", 2 * ratio // first)


def planned_partial_local(ratio: int, reset_ratio: int) -> Plan:
    """Return CSER-PL's blocks: nothing between resets, H R1 = ratio; R1 by default near its square root."""
    first = reset_ratio or 2 ** -(-(ratio.bit_length() - 1) // 2)
    if ratio % first:
        raise ValueError(_whole_interval(first, reset_ratio, f"ratio = {ratio}"))
    return Plan(None, f"grbs(ratio={first})", ratio // first)


class _Resets(Algorithm):
    """What the family shares: two exchanges, local updates, and the mean model."""

    replicas = True
    is_elementwise = True
    keeps_errors = True

    def __init__(self, plan: Plan, own_compressor: bool) -> None:
        if plan.interval < 1:
            raise ValueError(f"interval is {plan.interval}; it must be at least 1")
        self.plan, self.own_compressor = plan, own_compressor
        self._second = None if plan.gradients is None else COMPRESSORS.parse(plan.gradients).make()
        self._first = COMPRESSORS.parse(plan.resets).make()
        require_contraction(self._first)

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse a compressor beside a ratio, which names its own, and what is not a contraction."""
        if not self.own_compressor and type(compressor) is not FullPrecision:
            raise ValueError(
                "the algorithm itself says what is sent; leave out the compressor (reproduce --bits 32)"
            )
        require_contraction(compressor)

    def warnings(self, compressor: Compressor) -> Iterator[str]:
        """Warn of either compressor that is not known to be a contraction."""
        yield from super().warnings(compressor)
        yield from (f"resets: {line}" for line in unknown_contraction(self._first))

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n)."""
        self.parameters = parameters
        self.gradient_exchange: Exchange | None = exchange
        if not self.own_compressor:
            self.gradient_exchange = exchange.fork(self._second) if self._second else None
        self.reset_exchange = exchange.fork(self._first)
        self.directions = Directions(parameters, settings)
        self.update, self.mean = torch.empty_like(parameters), torch.zeros_like(parameters[0])

    def is_reset(self, step: int) -> bool:
        """Whether a step ends with a reset."""
        return (step + 1) % self.plan.interval == 0

    def partial(self, exchange: Exchange, rows: torch.Tensor, step: int) -> None:
        """Leave in `rows` what was not sent; the mean of what was is `self.mean`."""
        exchange.partial_mean(compressors_view(rows), step, compressors_view(self.mean))

    def consensus(self) -> torch.Tensor:
        """Return the mean of the models, which is sent for nothing."""
        mean: torch.Tensor = self.reset_exchange.all_rows(self.parameters).mean(dim=0)
        return mean

    def _forks(self) -> dict[str, Exchange]:
        forks = {"resets": self.reset_exchange}
        if not self.own_compressor and self.gradient_exchange is not None:
            forks["gradients"] = self.gradient_exchange
        return forks

    def arrays(self) -> Arrays:
        """Return the momenta, and the states of the compressors."""
        states = {
            f"{name}.{key}": array
            for name, fork in self._forks().items()
            for key, array in fork.arrays().items()
        }
        return {**self.directions.arrays(), **states}

    def restore(self, arrays: Arrays) -> None:
        """Continue between two resets."""
        self.directions.restore(arrays)
        for name, fork in self._forks().items():
            prefix = f"{name}."
            fork.restore({k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)})


class CSER(_Resets):
    """The algorithm: models, errors and momenta at every node."""

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n); there are no errors yet."""
        super().begin(parameters, exchange, settings)
        self.errors = torch.zeros_like(parameters)

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Send a part of the updates, and where H divides the number of steps a part of the errors."""
        rest = self.directions.write(self.parameters, gradients, rate, self.update)
        if self.gradient_exchange is not None:
            self.partial(self.gradient_exchange, rest, step)
            self.parameters -= self.mean
        self.parameters -= rest
        self.errors -= rest
        if self.is_reset(step):
            self.parameters -= self.errors
            self.partial(self.reset_exchange, self.errors, step)
            self.parameters += self.mean
            self.parameters += self.errors

    def arrays(self) -> Arrays:
        """Return the errors as well."""
        return {**super().arrays(), "errors": self.errors.cpu().numpy()}

    def restore(self, arrays: Arrays) -> None:
        """Continue between two resets."""
        super().restore(arrays)
        self.errors.copy_(torch.from_numpy(np.array(arrays["errors"])))


class CSERBlocks(_Resets):
    """The published code: no errors; every step a block of the *models* is averaged, every H-th a larger one.

    Any block that is averaged is reset whole, so that it is the algorithm only where C2 sends nothing.
    """

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Take local steps, and average a part of the models."""
        self.parameters -= self.directions.write(self.parameters, gradients, rate, self.update)
        exchange = self.reset_exchange if self.is_reset(step) else self.gradient_exchange
        if exchange is not None:
            self.partial(exchange, self.parameters, step)
            self.parameters += self.mean


def _cser(ratio: int, reset_ratio: int, resets: str, interval: int) -> CSER:
    if ratio:
        if resets or interval:
            raise ValueError("ratio says what is sent and when; leave out resets and interval, or ratio")
        return CSER(planned(_at_least_one(ratio), reset_ratio), own_compressor=False)
    if reset_ratio:
        raise ValueError("reset_ratio goes with ratio")
    return CSER(Plan(None, resets or "fp32", interval or 8), own_compressor=True)


def _cser_pl(ratio: int, reset_ratio: int, resets: str, interval: int) -> CSER:
    if ratio and (resets or interval):
        raise ValueError("ratio says what is sent and when; leave out resets and interval, or ratio")
    if not ratio and reset_ratio:
        raise ValueError("reset_ratio goes with ratio")
    blocks = planned_partial_local(_at_least_one(ratio), reset_ratio) if ratio else None
    return CSER(blocks or Plan(None, resets or "fp32", interval or 8), own_compressor=False)


def _csea(ratio: int, resets: str) -> CSER:
    if ratio and resets:
        raise ValueError("ratio and resets both say what is sent; leave out one of them")
    return CSER(Plan(None, resets or f"grbs(ratio={_at_least_one(ratio or 32)})", 1), own_compressor=False)


def _blocks(ratio: int, reset_ratio: int) -> CSERBlocks:
    return CSERBlocks(planned(_at_least_one(ratio), reset_ratio), own_compressor=False)


def _at_least_one(ratio: int) -> int:
    if ratio < 1:
        raise ValueError(f"ratio is {ratio}; it must be at least 1")
    return ratio


_RATIO = Option("ratio", int, 0, "overall: fewer bits than float32, in blocks; 0: by the other options")
_RESET_RATIO = Option("reset_ratio", int, 0, "R1: of the blocks of a reset; 0: the authors', or 8")
_RESETS = Option(
    "resets", str, "", "C1, a compressor of the errors; none: float32", names=lambda: COMPRESSORS
)
_INTERVAL = Option("interval", int, 0, "H, steps between resets; 0: 8, or by ratio")
_SOURCE = "Xie et al., NeurIPS 2020"


def _labelled(name: str) -> Callable[[Mapping[str, Any]], str]:
    def label(options: Mapping[str, Any]) -> str:
        given = [
            words
            for words in (
                f"{options['ratio']}x" if options.get("ratio") else "",
                f"R1 = {options['reset_ratio']}" if options.get("reset_ratio") else "",
                f"resets {options['resets']}" if options.get("resets") else "",
                f"H = {options['interval']}" if options.get("interval") else "",
            )
            if words
        ]
        return f"{name} ({', '.join(given)})" if given else name

    return label


def _method(name: str, make: Callable[..., Algorithm], options: tuple[Option, ...], summary: str) -> Method:
    label = _labelled(name if name.endswith("blocks") else name.upper())
    return Method(name, make, options, label, summary, _SOURCE, theory="qsgd_lab.theory.cser")


METHODS = (
    _method(
        "cser",
        _cser,
        (_RATIO, _RESET_RATIO, _RESETS, _INTERVAL),
        "every step a part of the updates is averaged; every H steps the errors are reset in part",
    ),
    _method(
        "cser-pl",
        _cser_pl,
        (_RATIO, _RESET_RATIO, _RESETS, _INTERVAL),
        "local steps; every H steps the errors are reset in part: CSER with C2 = 0",
    ),
    _method(
        "csea",
        _csea,
        (_RATIO, _RESETS),
        "local steps; every step a part of the errors is reset: CSER with C2 = 0 and H = 1",
    ),
    _method(
        "cser-blocks",
        _blocks,
        (Option("ratio", int, 32, _RATIO.help), _RESET_RATIO),
        "CSER's published code: random blocks of the models are averaged, and no errors kept",
    ),
)
