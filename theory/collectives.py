"""Costs of a collective on a network of machines with several devices each, before anything is trained.

A cost is linear: messages one after the other times latency, and bytes over bandwidth, within a machine and
between machines. N = M G nodes: M machines with G devices, which share the machine's link to the others.

A flat collective knows no machines: a ring crosses each machine's link once in each direction, messages sent
to every node cross it for each of its devices. A two-level one adds float32 gradients up within the machine,
so that every device has a G-th of the sum; these parts go through the collective between the machines, all at
once; and the result is gathered within the machine.

References
----------
Thakur, Rabenseifner, Gropp: Optimization of collective communication operations in MPICH. 2005 (rings).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from qsgd_lab.theory.arguments import choice, number, whole
from qsgd_lab.theory.arrays import representable
from qsgd_lab.theory.network import FP32_BYTES

#: How a vector can travel; the first for values that a network adds up, the others for codes as well.
COLLECTIVES = ("all-reduce", "all-gather", "two-phase", "parameter-server")

#: Between these bandwidths, in bytes a second, a break-even is looked for.
SLOWEST, FASTEST = 1.0, 1e15


class Network(NamedTuple):
    """Links: between machines (of a machine, each direction), and between the devices of one (of a device).

    Attributes
    ----------
    bandwidth, latency : float
        Bytes a second above 0, and seconds a message.
    devices : int
        G, devices of a machine; 1 where every node is a machine.
    inner_bandwidth, inner_latency : float
        The same within a machine.
    """

    bandwidth: float
    latency: float = 0.0
    devices: int = 1
    inner_bandwidth: float = math.inf
    inner_latency: float = 0.0


class Cost(NamedTuple):
    """What a collective takes of the network: messages one after the other, and bytes a link carries.

    Attributes
    ----------
    messages, bytes : float
        On the link of a machine; of two-level collectives between the machines alone.
    inner_messages, inner_bytes : float
        On the link of a device within its machine.
    """

    messages: float
    bytes: float
    inner_messages: float = 0.0
    inner_bytes: float = 0.0

    def seconds(self, network: Network) -> float:
        """Return the time on a network.

        Raises
        ------
        ValueError
            If a number of the cost or the network is out of its range.
        """
        for name in ("messages", "bytes", "inner_messages", "inner_bytes"):
            number(name, getattr(self, name), least=0)
        for name in ("latency", "inner_latency"):
            number(name, getattr(network, name), least=0)
        for name in ("bandwidth", "inner_bandwidth"):
            number(name, getattr(network, name), above=0, infinite=True)
        outer = self.messages * network.latency + self.bytes / network.bandwidth
        inner = self.inner_messages * network.inner_latency + self.inner_bytes / network.inner_bandwidth
        return outer + inner


@representable()
def collective_cost(
    collective: str, num_nodes: int, num_coordinates: int, bits_per_coordinate: float, devices: int = 1
) -> Cost:
    """Return what a flat collective takes; on machines of several devices, of a machine's link.

    Parameters
    ----------
    collective : str
        One of `COLLECTIVES`.
    num_nodes, num_coordinates : int
        N >= 1 and n >= 1.
    bits_per_coordinate : float
        c >= 0 of what travels; m = c n / 8 bytes a vector.
    devices : int
        G >= 1, a divisor of N.

    Notes
    -----
    All-reduce: 2 (N - 1) rounds of m / N in a ring. All-gather: N - 1 rounds of m in a ring. Two-phase: m / N
    to every other node, then a ring all-gather of m / N. Parameter server: N messages to the first node and
    N back; its link carries 2 m for each node of another machine.
    """
    choice("collective", collective, COLLECTIVES)
    N, n, G = (
        whole("num_nodes", num_nodes),
        whole("num_coordinates", num_coordinates),
        whole("devices", devices),
    )
    if N % G:
        raise ValueError(f"{N} nodes are not whole machines of {G} devices; give a multiple of {G}")
    m = number("bits_per_coordinate", bits_per_coordinate, least=0) * n / 8
    outside = N - G
    if N == G:  # one machine: nothing leaves it
        return Cost(0.0, 0.0)
    if collective == "all-reduce":
        return Cost(2 * (N - 1), 2 * (N - 1) / N * m)
    if collective == "all-gather":
        return Cost(N - 1, (N - 1) * m)
    if collective == "two-phase":
        return Cost(2 * (N - 1), G * outside / N * m + (N - 1) / N * m)
    return Cost(2, 2 * outside * m)


@representable()
def two_level_cost(
    collective: str, num_nodes: int, num_coordinates: int, bits_per_coordinate: float, devices: int
) -> Cost:
    """Return what a two-level collective takes; see `collective_cost`.

    Within a machine 2 (G - 1) rounds carry 2 (G - 1) / G float32 vectors, as a ring all-reduce does.
    """
    G, n = whole("devices", devices), whole("num_coordinates", num_coordinates)
    N = whole("num_nodes", num_nodes)
    if N % G:
        raise ValueError(f"{N} nodes are not whole machines of {G} devices; give a multiple of {G}")
    outer = collective_cost(collective, N // G, n, bits_per_coordinate)
    inner_bytes = 2 * (G - 1) / G * FP32_BYTES * n
    return outer._replace(inner_messages=2.0 * (G - 1), inner_bytes=inner_bytes)


class Step(NamedTuple):
    """One step of a node besides the network; seconds.

    Attributes
    ----------
    compute : float
        Forward and backward pass.
    extra : float
        What quantizing and coding add.
    overlap : float
        Share of `compute`, 0 to 1, during which the network works already: gradients of the last layers are
        there before those of the first.
    """

    compute: float
    extra: float = 0.0
    overlap: float = 0.0

    def seconds(self, network: float) -> float:
        """Return the time of the step whose collective takes `network` seconds.

        Raises
        ------
        ValueError
            If `network` or `compute` is below 0, `overlap` not from 0 to 1, or a number not finite.
        """
        number("network", network, least=0)
        number("compute", self.compute, least=0)
        number("extra", self.extra)
        number("overlap", self.overlap, least=0, most=1)
        return self.compute + self.extra + max(0.0, network - self.overlap * self.compute)


def pays_at(
    cost: Cost, step: Step, baseline: Cost, baseline_step: Step, network: Network
) -> tuple[float, float] | None:
    """Return between which bandwidths of a machine's link a step is faster than the baseline's.

    Returns
    -------
    (float, float) or None
        Bytes a second: (0, W) below W, (W, inf) above it, (0, inf) always; None: never. With overlap there
        can be several intervals; then the one of the slowest links is returned.

    Raises
    ------
    ValueError
        If a number of a cost, a step or the network is out of its range.
    """
    number("bandwidth", network.bandwidth, above=0)

    def gain(bandwidth: float) -> float:
        at = network._replace(bandwidth=bandwidth)
        return baseline_step.seconds(baseline.seconds(at)) - step.seconds(cost.seconds(at))

    grid = [SLOWEST * (FASTEST / SLOWEST) ** (i / 60) for i in range(61)]
    pays = [gain(bandwidth) > 0 for bandwidth in grid]
    if True not in pays:
        return None
    first = pays.index(True)
    last = pays.index(False, first) if False in pays[first:] else None
    low = 0.0 if first == 0 else _crossing(gain, grid[first - 1], grid[first])
    high = math.inf if last is None else _crossing(gain, grid[last - 1], grid[last])
    return low, high


def _crossing(gain: Callable[[float], float], low: float, high: float) -> float:
    """Return where a gain changes its sign, by halving on a logarithmic scale."""
    at_low = gain(low) > 0
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if (gain(middle) > 0) == at_low else (low, middle)
    return math.sqrt(low * high)
