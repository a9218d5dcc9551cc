"""Rand-K: k random coordinates, whose positions follow from the key of the message and are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.methods.top_k import FRACTION, KEPT_SHARES, kept
from qsgd_lab.compressors.protocol import Array, Layout, Stateless
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire.key import SHARED_NODE, Key
from qsgd_lab.wire.kinds.masked import Masked, mask_positions

MASKS = ("own", "shared")
VALUES = ("unbiased", "plain")
VALUES_OPTION = Option(
    "values", str, "unbiased", "sent times n/k, which is unbiased, or as they are: a contraction", VALUES
)


class RandK(Stateless):
    """Sends k = max(1, round(fraction n)) random coordinates of the whole gradient.

    Parameters
    ----------
    fraction : float
        Above 0, at most 1.
    mask : {"own", "shared"}
        Whether each node draws a mask of its own, or all draw the same one: then values can be added by the
        network (all-reduce), but nodes of equal gradients have equal errors.
    values : {"unbiased", "plain"}

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Stich, Cordonnier, Jaggi: Sparsified SGD with memory. NeurIPS 2018.
    """

    def __init__(self, fraction: float = 0.01, mask: str = "own", values: str = "unbiased") -> None:
        check_choice("mask", mask, MASKS)
        check_choice("values", values, VALUES)
        kept(fraction, 1)
        self.fraction, self.mask, self.values = fraction, mask, values
        self.aggregates = "sums" if mask == "shared" else "gathers"
        self._wire = MessageWire("masked", self._matches, lambda payload: FLOAT_BITS * payload.values.size)

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Masked, Any]:
        """Return (the coordinates of the step's mask, state)."""
        k = kept(self.fraction, gradient.size)
        node = SHARED_NODE if self.mask == "shared" else stream.node
        key = Key(stream.seed, node, stream.step, stream.tensor)
        values = gradient[mask_positions(key, k, gradient.size)]
        if self.values == "unbiased" and k:
            with np.errstate(over="ignore"):  # n/k times a large coordinate may exceed float32, and is seen
                values = values * np.float32(gradient.size / k)
        return Masked(values, gradient.size, key), state

    @property
    def wire(self) -> MessageWire:
        """Kind "masked" of wire format 2: a key and k values."""
        return self._wire

    @property
    def is_unbiased(self) -> bool:
        """True with unbiased values, or where all coordinates are sent."""
        return self.values == "unbiased" or self.fraction == 1

    def variance_factor(self, num_coordinates: int) -> float:
        """Return n/k - 1, or 1 - k/n for plain values; both are exact for every vector."""
        if num_coordinates == 0:
            return 0.0
        k = kept(self.fraction, num_coordinates)
        return num_coordinates / k - 1 if self.values == "unbiased" else 1 - k / num_coordinates

    def _matches(self, payload: Masked, layout: Layout) -> bool:
        n = layout.num_coordinates
        return (
            payload.num_coordinates == n
            and payload.values.dtype == np.float32
            and payload.values.size == kept(self.fraction, n)
            and (payload.key.node == SHARED_NODE) == (self.mask == "shared")
        )


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse an option that is none of the known ones with a ValueError."""
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")


def _label(options: Mapping[str, Any]) -> str:
    mask = ", shared mask" if options["mask"] == "shared" else ""
    plain = ", plain" if options["values"] == "plain" else ""
    return f"rand {100 * options['fraction']:.6g} %{mask}{plain}"


METHOD = Method(
    "rand-k",
    RandK,
    (
        FRACTION,
        Option("mask", str, "own", "whose random coordinates: each node its own, or the same for all", MASKS),
        VALUES_OPTION,
    ),
    _label,
    summary="random coordinates; their positions follow from the key and are not sent",
    source="Stich, Cordonnier, Jaggi, NeurIPS 2018",
    theory="qsgd_lab.theory.methods.rand_k",
    settings=tuple(f"rand-k(fraction={share})" for share in KEPT_SHARES),
)
