"""Rows of the calculator: every collective and every width on one network, against the fastest float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qsgd_lab.theory.collectives import (
    COLLECTIVES,
    Cost,
    Network,
    Step,
    collective_cost,
    pays_at,
    two_level_cost,
)
from qsgd_lab.theory.dense_code_length import fixed_width_bits

FP32, FP16 = "fp32", "fp16"
_ALL_REDUCE = "all-reduce"


class Question(NamedTuple):
    """What is asked.

    Attributes
    ----------
    parameters : int
        n, coordinates of a gradient.
    bits : sequence of int
        Magnitude bits b.
    bucket_size : int
        Coordinates that share a norm.
    network : Network
    step : Step
        Of a method that quantizes; float32 and float16 take no `extra`.
    """

    parameters: int
    bits: Sequence[int]
    bucket_size: int
    network: Network
    step: Step


class Row(NamedTuple):
    """One way to exchange a gradient; seconds, bytes, bits.

    Attributes
    ----------
    nodes : int
    sends : str
        ``fp32``, ``fp16``, or such as ``2 bit``.
    bits_per_coordinate : float
        Norms included.
    collective : str
        One of `qsgd_lab.theory.collectives.COLLECTIVES`.
    level : {"flat", "two-level"}
    link_bytes, inner_bytes : float
        On a machine's link in each direction, and on a device's within its machine.
    network_s, step_s : float
        Of the collective alone, and of the step.
    speed_up : float
        Over the fastest float32 all-reduce.
    pays : (float, float) or None
        Bandwidths between which the step is faster than that.
    """

    nodes: int
    sends: str
    bits_per_coordinate: float
    collective: str
    level: str
    link_bytes: float
    inner_bytes: float
    network_s: float
    step_s: float
    speed_up: float
    pays: tuple[float, float] | None


def rows_of(question: Question, num_nodes: int) -> list[Row]:
    """Return the rows for one number of nodes, float32's first.

    Parameters
    ----------
    question : Question
    num_nodes : int
        N, a multiple of the devices of a machine.
    """
    network, step = question.network, question.step
    plain = step._replace(extra=0.0)
    ways = list(_ways(question, num_nodes))
    base = min(
        (cost for sends, _, collective, _, cost in ways if sends == FP32 and collective == _ALL_REDUCE),
        key=lambda cost: plain.seconds(cost.seconds(network)),
    )
    baseline_s = plain.seconds(base.seconds(network))
    found = []
    for sends, bits, collective, level, cost in ways:
        own = plain if sends in (FP32, FP16) else step
        seconds = own.seconds(cost.seconds(network))
        # A way that costs the same as float32 is never faster; rounding must not say otherwise.
        pays = None if cost == base and own == plain else pays_at(cost, own, base, plain, network)
        found.append(
            Row(
                num_nodes,
                sends,
                bits,
                collective,
                level,
                cost.bytes,
                cost.inner_bytes,
                cost.seconds(network),
                seconds,
                baseline_s / seconds if seconds else 1.0,
                pays,
            )
        )
    return found


def _ways(question: Question, num_nodes: int) -> Iterator[tuple[str, float, str, str, Cost]]:
    """Yield (what is sent, bits a coordinate, collective, level, cost)."""
    devices = question.network.devices
    sent = [(FP32, 32.0), (FP16, 16.0)]
    for bits in question.bits:
        whole = fixed_width_bits(question.parameters, bits, bucket_size=question.bucket_size)
        sent.append((f"{bits} bit", whole / question.parameters))
    for sends, width in sent:
        for collective in COLLECTIVES:
            adds_up = sends in (FP32, FP16)
            if adds_up != (collective == _ALL_REDUCE) and collective != "parameter-server":
                continue  # a network adds up numbers and no codes, and numbers need no other collective
            arguments = (collective, num_nodes, question.parameters, width, devices)
            yield sends, width, collective, "flat", collective_cost(*arguments)
            if devices > 1:
                yield sends, width, collective, "two-level", two_level_cost(*arguments)
