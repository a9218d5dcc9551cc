"""Damping: an unbiased quantizer made a contraction, fit for error feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsgd_lab.compressors.calls import check_wrapped
from qsgd_lab.compressors.protocol import Array, Compressor, Layout, Wire
from qsgd_lab.compressors.registry import Method
from qsgd_lab.ledger import Size
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class DampedState:
    """The wrapped compressor's state and the factor 1/(1 + w)."""

    inner: Any
    factor: np.float32

    @property
    def num_coordinates(self) -> int | None:
        """The wrapped compressor's; None where it takes gradients of any length."""
        return getattr(self.inner, "num_coordinates", None)


@dataclass(frozen=True)
class DampedPayload:
    """The wrapped compressor's payload, and the factor, which its receiver knows too."""

    inner: Any
    factor: np.float32


class DampedWire(Wire[DampedPayload]):
    """The inner payload's bytes: the factor follows from the configuration and is not sent.

    Parameters
    ----------
    inner : Compressor
        The one that is damped.
    """

    def __init__(self, inner: Compressor) -> None:
        self.inner = inner
        self.kind = inner.wire.kind  # type: ignore[misc]

    def size(self, payload: DampedPayload) -> Size:
        """Return the inner payload's size."""
        return self.inner.wire.size(payload.inner)

    def pack(self, payload: DampedPayload) -> bytes:
        """Return the inner payload's message."""
        return self.inner.wire.pack(payload.inner)

    def unpack(self, message: bytes, layout: Layout) -> DampedPayload:
        """Return the inner payload with the factor that the receiver computes, too."""
        return DampedPayload(self.inner.wire.unpack(message, layout), _factor(self.inner, layout))


def _factor(inner: Compressor, layout: Layout) -> np.float32:
    """Return 1/(1 + w)."""
    return np.float32(1 / (1 + (inner.variance_factor(layout.num_coordinates) or 0.0)))


class Damped(Compressor):
    r"""Wraps an unbiased quantizer of variance factor w: decodes to Q(v) / (1 + w).

    .. math:: E\lVert Q(v)/(1+w) - v \rVert^2 \le \Bigl(1 - \frac{1}{1+w}\Bigr) \lVert v \rVert^2

    Parameters
    ----------
    inner : Compressor

    Raises
    ------
    TypeError
        If `inner` is no compressor.
    ValueError
        If the inner compressor is biased, or its variance factor is not known.
    """

    is_unbiased = False  # it shrinks

    def __init__(self, inner: Compressor) -> None:
        check_wrapped(inner, Compressor, "Damped")
        if inner.interactive:
            raise ValueError("a compressor of several rounds is not damped")
        if inner.decodes_differences:
            raise ValueError(
                "DIANA's payloads are differences: damp the compressor inside, as in ef21(damped(...))"
            )
        if not inner.is_unbiased:
            raise ValueError("only an unbiased quantizer is damped: its variance factor sets the factor")
        if inner.variance_factor(1) is None:
            raise ValueError("no variance factor of this compressor is known, by which to damp it")
        self.inner = inner
        self.takes_device_arrays = inner.takes_device_arrays

    def init(self, layout: Layout) -> DampedState:
        """Return the inner state and 1/(1 + w) for this many coordinates."""
        return DampedState(self.inner.init(layout), _factor(self.inner, layout))

    def compress(
        self, gradient: Array, state: DampedState, stream: Stream
    ) -> tuple[DampedPayload, DampedState]:
        """Return (inner payload with the factor, state)."""
        payload, inner = self.inner.compress(gradient, state.inner, stream)
        return DampedPayload(payload, state.factor), DampedState(inner, state.factor)

    def decompress(self, payload: DampedPayload) -> Array:
        """Return the inner gradient times the factor."""
        return self.inner.decompress(payload.inner) * payload.factor

    @property
    def wire(self) -> DampedWire:
        """The inner compressor's bytes."""
        return DampedWire(self.inner)

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - 1/(1 + w), which is below 1 for every w."""
        return 1 - 1 / (1 + (self.inner.variance_factor(num_coordinates) or 0.0))


METHOD = Method(
    "damped",
    Damped,
    (),
    lambda options: f"{options['inner']}, damped",
    summary="an unbiased quantizer divided by 1 + w: a contraction, fit for error feedback",
    source="Beznosikov, Horvath, Richtarik, Safaryan, JMLR 2023",
    theory="qsgd_lab.theory.error_feedback",
    is_wrapper=True,
)
