"""Costs of a group's collectives, measured once: every rank has the figures of rank 0.

They choose among ways to send that have the same result, or, where the user allows another result, between
the collectives of messages. They are no part of a run's key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.collectives import Network, collective_cost

#: Bytes and repetitions whose time is that of the latency, and of the bandwidth: together more than the
#: burst that a shaped link lets through at once.
_SMALL, _LARGE = (8, 20), (1 << 19, 3)
_FP32_BITS = 32.0


class Group(Protocol):
    """What measuring needs of a lane."""

    size: int

    def gather(self, data: NDArray[np.uint8], length: int | None = None) -> list[NDArray[np.uint8]]:
        """Send bytes to every rank, and return every rank's."""

    def from_rank_0(self, *numbers: float) -> list[float]:
        """Return rank 0's numbers."""


class MessageCosts(NamedTuple):
    """What the message of a whole gradient takes.

    Attributes
    ----------
    make_s, read_s : float
        Seconds of processor to make a message, and to read one.
    bytes : float
    """

    make_s: float
    read_s: float
    bytes: float


def measure_network(lane: Group) -> Network:
    """Return latency and bandwidth between the ranks of a lane; every rank calls this.

    Raises
    ------
    PeerError
        If a rank is lost.
    """
    others = lane.size - 1
    if others == 0:
        return Network(np.inf)

    def seconds(size: int, repeats: int) -> list[float]:
        data, found = np.zeros(size, np.uint8), []
        for _ in range(repeats):
            start = time.perf_counter()
            lane.gather(data, size)
            found.append(time.perf_counter() - start)
        return found

    small = min(seconds(*_SMALL))
    large = sum(seconds(*_LARGE)) / _LARGE[1]
    bandwidth = others * _LARGE[0] / max(large - small, 1e-9)
    bandwidth, latency = lane.from_rank_0(bandwidth, small / others)
    return Network(bandwidth, latency)


def measure_messages(
    lane: Group,
    make: Callable[[], NDArray[np.uint8]],
    read: Callable[[NDArray[np.uint8]], None],
    scale: float,
) -> MessageCosts:
    """Return what messages take; every rank calls this.

    Parameters
    ----------
    lane : Group
    make, read : callable
        Make a message of a part of a gradient, and read it.
    scale : float
        Of how many such parts a gradient is.

    Raises
    ------
    PeerError
        If a rank is lost.
    """
    made, were_read = [], []
    for _ in range(4):  # the first compiles
        start = time.thread_time()
        message = make()
        middle = time.thread_time()
        read(message)
        made.append(middle - start)
        were_read.append(time.thread_time() - middle)
    own = (min(made), min(were_read), len(message))
    return MessageCosts(*lane.from_rank_0(*(scale * value for value in own)))


def processor_seconds(collective: str, nodes: int, costs: MessageCosts) -> float:
    """Return the seconds of processor that messages take of a rank in a step.

    A rank makes one message, which leaves what is read of it, and reads the others'. In two phases it reads
    all ranks' pieces of its shard, which are one message together, makes an N-th of one, and reads the other
    shards.
    """
    if collective == "all-gather":
        return costs.make_s + (nodes - 1) * costs.read_s
    return (1 + 1 / nodes) * costs.make_s + (2 - 1 / nodes) * costs.read_s


def fastest(nodes: int, num_coordinates: int, network: Network, costs: MessageCosts) -> str:
    """Return which collective of messages takes less time, network and processor: all-gather or two-phase."""

    def seconds(collective: str) -> float:
        cost = collective_cost(collective, nodes, num_coordinates, 8 * costs.bytes / num_coordinates)
        return cost.seconds(network) + processor_seconds(collective, nodes, costs)

    return min(("all-gather", "two-phase"), key=seconds)


@lru_cache(maxsize=256)  # asked at every sum
def sums_are_gathered(nodes: int, num_coordinates: int, network: Network) -> bool:
    """Whether a float32 sum takes less time where every rank receives all vectors, and adds them up itself.

    The other way, shares added up by their owners and sent on, takes fewer bytes above two ranks, and more
    messages one after the other. Both add in the order of ranks: the sum has the same bits.
    """
    gathered, shared = (
        collective_cost(collective, nodes, num_coordinates, _FP32_BITS).seconds(network)
        for collective in ("all-gather", "all-reduce")
    )
    return gathered <= shared  # at two ranks the bytes are the same, in one round instead of two
