"""Seconds on the wire: what each way of exchanging gradients costs on a network of latency a and bandwidth W.

K nodes, n coordinates; a latency in seconds a message, W in bytes a second and direction of a node's link.
All-gather of codes beats a full-precision ring all-reduce only below 64 / K bits a coordinate: with K = 16
even "4-bit" QSGD (4.0625 bits measured) loses, and larger savings need a reduce-scatter of codes, or a
baseline that is not a ring.
"""

from __future__ import annotations

FP32_BYTES = 4


def ring_allreduce_seconds(num_nodes: int, num_coordinates: int, latency: float, bandwidth: float) -> float:
    """Return the time of a ring all-reduce in float32: 2 (K - 1) a + 2 ((K - 1) / K) 4 n / W.

    Parameters
    ----------
    num_nodes, num_coordinates : int
        K and n.
    latency, bandwidth : float
        a in seconds, W in bytes a second.
    """
    rounds = 2 * (num_nodes - 1)
    return rounds * latency + rounds / num_nodes * FP32_BYTES * num_coordinates / bandwidth


def allgather_seconds(num_nodes: int, message_bytes: float, latency: float, bandwidth: float) -> float:
    """Return the time of a ring all-gather of messages of m bytes at most: (K - 1)(a + m / W)."""
    return (num_nodes - 1) * (latency + message_bytes / bandwidth)


def quantized_reduce_scatter_seconds(
    num_nodes: int, num_coordinates: int, bits_per_coordinate: float, latency: float, bandwidth: float
) -> float:
    """Return the time of reduce-scatter, requantization and all-gather of codes, the same bits both ways."""
    rounds = 2 * (num_nodes - 1)
    return rounds * latency + rounds / num_nodes * bits_per_coordinate / 8 * num_coordinates / bandwidth


def parameter_server_seconds(
    num_nodes: int, up_bytes: float, down_bytes: float, latency: float, bandwidth: float
) -> float:
    """Return the time through one server, whose link carries all messages: 2 a + K (up + down) / W."""
    return 2 * latency + num_nodes * (up_bytes + down_bytes) / bandwidth


def allgather_break_even_bits(num_nodes: int) -> float:
    """Return 64 / K: all-gather of codes beats a float32 ring below so many bits a coordinate."""
    return 16 * FP32_BYTES / num_nodes


def speed_up(communication_fraction: float, shrink: float) -> float:
    """Return 1 / (1 - f + f / r): the speed-up when a fraction f of the time shrinks by r (Amdahl).

    Examples
    --------
    >>> speed_up(0.8, 4)  # QSGD's AlexNet on 16 GPUs, 4 bits: 2.5 as published
    2.5
    """
    return 1 / (1 - communication_fraction + communication_fraction / shrink)
