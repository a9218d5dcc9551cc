"""Seconds on the wire: what each way of exchanging gradients costs on a network of latency a and bandwidth W.

K nodes, n coordinates; a latency in seconds a message, W in bytes a second and direction of a node's link.
All-gather of codes beats a full-precision ring all-reduce only below 64 / K bits a coordinate: with K = 16
even "4-bit" QSGD (4.0625 bits measured) loses, and larger savings need a reduce-scatter of codes, or a
baseline that is not a ring.
"""

from __future__ import annotations

import math

from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import representable

FP32_BYTES = 4


def ring_allreduce_bytes(num_nodes: int, num_coordinates: int) -> float:
    """Return what a node sends in a ring all-reduce in float32, and as much receives: 2 ((K - 1) / K) 4 n."""
    K, n = whole("num_nodes", num_nodes), whole("num_coordinates", num_coordinates)
    return 2 * (K - 1) / K * FP32_BYTES * n


@representable()
def allgather_bytes(num_nodes: int, message_bytes: float) -> float:
    """Return what a node passes on in a ring all-gather of messages of m bytes: (K - 1) m."""
    return (whole("num_nodes", num_nodes) - 1) * number("message_bytes", message_bytes, least=0)


@representable()
def ring_allreduce_seconds(num_nodes: int, num_coordinates: int, latency: float, bandwidth: float) -> float:
    """Return the time of a ring all-reduce in float32: 2 (K - 1) a + 2 ((K - 1) / K) 4 n / W.

    Parameters
    ----------
    num_nodes, num_coordinates : int
        K >= 1 and n >= 1, here and below.
    latency, bandwidth : float
        a >= 0 in seconds, W > 0 in bytes a second, here and below.
    """
    latency, bandwidth = _link(latency, bandwidth)
    sent = ring_allreduce_bytes(num_nodes, num_coordinates)
    return 2 * (num_nodes - 1) * latency + sent / bandwidth


@representable()
def allgather_seconds(num_nodes: int, message_bytes: float, latency: float, bandwidth: float) -> float:
    """Return the time of a ring all-gather of messages of m bytes at most: (K - 1)(a + m / W)."""
    latency, bandwidth = _link(latency, bandwidth)
    sent = allgather_bytes(num_nodes, message_bytes)
    return (num_nodes - 1) * latency + sent / bandwidth


@representable()
def quantized_reduce_scatter_seconds(
    num_nodes: int, num_coordinates: int, bits_per_coordinate: float, latency: float, bandwidth: float
) -> float:
    """Return the time of reduce-scatter, requantization and all-gather of codes, the same bits both ways."""
    K, n = whole("num_nodes", num_nodes), whole("num_coordinates", num_coordinates)
    bits = number("bits_per_coordinate", bits_per_coordinate, least=0)
    latency, bandwidth = _link(latency, bandwidth)
    # K - 1 rounds scatter the sums, K - 1 gather them; each carries a K-th of the vector.
    rounds = 2 * (K - 1)
    return rounds * latency + rounds / K * bits / 8 * n / bandwidth


@representable()
def parameter_server_seconds(
    num_nodes: int, up_bytes: float, down_bytes: float, latency: float, bandwidth: float
) -> float:
    """Return the time through one server, whose link carries all messages: 2 a + K (up + down) / W."""
    latency, bandwidth = _link(latency, bandwidth)
    both = number("up_bytes", up_bytes, least=0) + number("down_bytes", down_bytes, least=0)
    return 2 * latency + whole("num_nodes", num_nodes) * both / bandwidth


def allgather_break_even_bits(num_nodes: int) -> float:
    """Return 64 / K: all-gather of codes beats a float32 ring below so many bits a coordinate."""
    return 16 * FP32_BYTES / whole("num_nodes", num_nodes)


def allgather_pays_between(
    num_nodes: int, num_coordinates: int, message_bytes: float, latency: float, extra_seconds: float
) -> tuple[float, float] | None:
    """Return the bandwidths at which a step with an all-gather of codes is the faster one.

    The codes save V bytes a node and step on the float32 ring, and h seconds apart from them: the latency of
    K - 1 rounds less what quantizing costs. The step is faster where h + V / W > 0, and both break even at
    W = -V / h.

    Parameters
    ----------
    num_nodes, num_coordinates : int
        K >= 1 and n >= 1.
    message_bytes : float
        m >= 0, of a node's codes.
    latency, extra_seconds : float
        a >= 0, and what quantizing and coding add to a node's step (below 0 if they save time); in seconds.

    Returns
    -------
    (float, float) or None
        Ends of the open interval of bandwidths W, in bytes a second: (0, W) below the break-even, (W, inf)
        above it, (0, inf) at every bandwidth; None at none.

    Examples
    --------
    >>> allgather_pays_between(8, 10**6, 500_000, latency=0.0, extra_seconds=0.01)
    (0.0, 350000000.0)
    >>> allgather_pays_between(16, 10**6, 510_000, latency=0.0, extra_seconds=0.0)  # 4.08 bits: over 64 / 16
    """
    saved_bytes = ring_allreduce_bytes(num_nodes, num_coordinates) - allgather_bytes(num_nodes, message_bytes)
    latency, extra_seconds = number("latency", latency, least=0), number("extra_seconds", extra_seconds)
    return pays_between(saved_bytes, (num_nodes - 1) * latency - extra_seconds)


def pays_between(saved_bytes: float, saved_seconds: float) -> tuple[float, float] | None:
    """Return the bandwidths at which something pays that saves V bytes and h seconds apart from them.

    It does where h + V / W > 0; either may be below 0.

    Parameters
    ----------
    saved_bytes, saved_seconds : float
        V and h.

    Returns
    -------
    (float, float) or None
        As `allgather_pays_between`.
    """
    saved_bytes, saved_seconds = number("saved_bytes", saved_bytes), number("saved_seconds", saved_seconds)
    # Neither fewer bytes nor fewer seconds: never faster, and at best the same.
    if saved_bytes <= 0 and saved_seconds <= 0:
        return None
    if saved_bytes >= 0 and saved_seconds >= 0:
        return 0.0, math.inf
    break_even = number("the break-even bandwidth", -saved_bytes / saved_seconds, above=0)
    return (0.0, break_even) if saved_bytes > 0 else (break_even, math.inf)


@representable(zeros={})
def speed_up(communication_fraction: float, shrink: float) -> float:
    """Return 1 / (1 - f + f / r): the speed-up when a fraction f of the time shrinks by r (Amdahl).

    Parameters
    ----------
    communication_fraction, shrink : float
        0 <= f <= 1 and r > 0.

    Examples
    --------
    >>> speed_up(0.8, 4)  # QSGD's AlexNet on 16 GPUs, 4 bits: 2.5 as published
    2.5
    """
    f = number("communication_fraction", communication_fraction, least=0, most=1)
    return 1 / (1 - f + f / number("shrink", shrink, above=0))


def _link(latency: float, bandwidth: float) -> tuple[float, float]:
    return number("latency", latency, least=0), number("bandwidth", bandwidth, above=0)
