"""Slow and obvious oracles for traffic: rings played round by round, and a break-even found by halving."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction


def ring_allreduce(num_nodes: int, num_coordinates: int) -> tuple[list[int], list[list[Fraction]]]:
    """Play a ring all-reduce of float32 gradients; N must divide n.

    Returns
    -------
    (list of int, list of list of Fraction)
        Bytes that each node has sent, and what each holds in the end; node i started with i + 1 everywhere.
    """
    chunk = num_coordinates // num_nodes
    held = [[Fraction(node + 1)] * num_coordinates for node in range(num_nodes)]
    sent = [0] * num_nodes
    for reduces in (True, False):
        for turn in range(num_nodes - 1):
            before = [list(values) for values in held]
            for node in range(num_nodes):
                start = ((node - turn + (0 if reduces else 1)) % num_nodes) * chunk
                receiver = (node + 1) % num_nodes
                for i in range(start, start + chunk):
                    old = before[receiver][i] if reduces else 0
                    held[receiver][i] = before[node][i] + old
                sent[node] += 4 * chunk
    return sent, held


def ring_allgather(message_bytes: list[int]) -> tuple[list[int], list[set[int]]]:
    """Play a ring all-gather: every round each node passes on what it received last.

    Returns
    -------
    (list of int, list of set of int)
        Bytes that each node has sent, and whose messages each has in the end.
    """
    count = len(message_bytes)
    sent, known, last = [0] * count, [{node} for node in range(count)], list(range(count))
    for _ in range(count - 1):
        passed = list(last)
        for node in range(count):
            receiver = (node + 1) % count
            sent[node] += message_bytes[passed[node]]
            known[receiver].add(passed[node])
            last[receiver] = passed[node]
    return sent, known


def crossing(is_faster: Callable[[float], bool], low: float, high: float) -> float:
    """Return where the answer changes between two bandwidths, by halving on a logarithmic scale."""
    at_low = is_faster(low)
    assert at_low != is_faster(high)
    for _ in range(200):
        middle = math.sqrt(low * high)
        if is_faster(middle) == at_low:
            low = middle
        else:
            high = middle
    return low
