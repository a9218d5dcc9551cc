"""Costs of a run's communication: bytes sent, bytes that its collective moves, and modelled step times.

Bits and steps are measured; the network is a model (`qsgd_lab.theory.network`): N nodes in a ring, a latency
for each message, a bandwidth for each link and direction, nothing overlapped with computing. float32
gradients, and messages that can be added up, go by all-reduce, in which every node sends 2 (N - 1) / N of
them; codes cannot be added up and go by all-gather, in which every node passes on N - 1 messages,
in two phases, or through a server, whose link carries all messages. Hence 32 / bits is not what a network
gains. Nothing is overlapped unless the user says so.

What a node computes is measured in a simulation in which one machine does the work of all N nodes:

* compute: forward and backward pass, measured for the global batch, divided by N: a node computes its share.
* code: writing one message, and reading and adding up N - 1, as the run has measured them on one message.
* quantize: measured for N nodes, divided by N. Where the run has not measured its messages it is not divided,
  and code is 0: a node quantizes one gradient rather than N, but adds up N, as the simulation does once for
  all nodes. That overstates the quantizing and leaves out the coding.

Evaluation, loading of data and the optimizer are left out of the step.

Bits a coordinate by method: at fixed width, by its best Elias code, in whole messages; and the ratio.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.report.analysis.cells import ELIAS_CODES, FULL_PRECISION_CODE
from qsgd_lab.runs.config import ALL_GATHER, SYNCHRONOUS, TWO_PHASE
from qsgd_lab.theory.network import allgather_bytes, ring_allreduce_bytes
from qsgd_lab.theory.network import pays_between as bandwidths_that_pay

#: Algorithms whose messages go to a server.
_WITH_SERVER = ("asynchronous", "parameter-server")

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.record import RunRecord

#: No code is so wasteful: a record that claims more is not believed.
MAX_BITS = 1024.0

#: The key under which a record has whole messages, frames included.
WHOLE_MESSAGE = "message"

ALL_REDUCE, SERVER = "all-reduce", "parameter-server"


@dataclass(frozen=True)
class Link:
    """A node's link: latency in seconds a message, bandwidth in bytes a second and direction; both finite."""

    bandwidth: float
    latency: float = 0.0


@dataclass(frozen=True)
class Exchange:
    """How the nodes exchange one step's gradients.

    Attributes
    ----------
    nodes : int
        N.
    num_parameters : int
        n, coordinates of a gradient.
    code : str
        A key of a record's `bits_per_coordinate`: ``fp32``, ``message``, ``auto``, ``fixed``, an Elias code.
    bits_per_coordinate : float
        Measured, norms included, and under ``message`` the frame of a message; 32 for fp32.
    per_step : float
        Vectors of n coordinates that a node sends a step: 1, and fewer where nodes take local steps.
    collective : str
        By default that of the code: ``all-reduce``, ``all-gather``, ``two-phase`` or ``parameter-server``.
    down_bits : float
        A coordinate, of what comes back from owners of shards or a server; where these are.
    """

    nodes: int
    num_parameters: int
    code: str
    bits_per_coordinate: float
    per_step: float = 1.0
    collective: str = ""
    down_bits: float = 0.0

    def __post_init__(self) -> None:
        """Let float32 be added up, and codes be gathered, where nothing else is said."""
        usual = ALL_REDUCE if self.code == FULL_PRECISION_CODE else ALL_GATHER
        object.__setattr__(self, "collective", self.collective or usual)

    @property
    def message_bytes(self) -> float:
        """Bytes that a node sends in one step; a mean over steps, nodes and seeds."""
        return self.per_step * self._vector_bytes

    @property
    def _vector_bytes(self) -> float:
        return self.bits_per_coordinate * self.num_parameters / 8

    @property
    def moved_bytes(self) -> float:
        """Bytes that a node's link carries in each direction in one step; 0 for one node."""
        both = self._vector_bytes + self.down_bits * self.num_parameters / 8
        if self.collective == ALL_REDUCE:
            once = (
                ring_allreduce_bytes(self.nodes, self.num_parameters) * self.bits_per_coordinate / FLOAT_BITS
            )
        elif self.collective == TWO_PHASE:
            once = (self.nodes - 1) / self.nodes * both
        elif self.collective == SERVER:
            once = self.nodes * both
        else:
            once = allgather_bytes(self.nodes, self._vector_bytes)
        return self.per_step * once

    @property
    def rounds(self) -> int:
        """Messages one after the other in one exchange."""
        if self.collective == SERVER:
            return 2
        return (1 if self.collective == ALL_GATHER else 2) * (self.nodes - 1)

    def seconds(self, link: Link) -> float:
        """Return the modelled time of the collective, a mean over steps."""
        return self.per_step * self.rounds * link.latency + self.moved_bytes / link.bandwidth

    def at_full_precision(self) -> Exchange:
        """Return the fp32 exchange of the same nodes and model."""
        n = self.num_parameters
        return Exchange(self.nodes, n, FULL_PRECISION_CODE, float(FLOAT_BITS))


@dataclass(frozen=True)
class NodeWork:
    """Seconds that one node works in a step, apart from the network."""

    compute: float
    quantize: float = 0.0
    code: float = 0.0

    @property
    def extra(self) -> float:
        """What quantizing and coding add."""
        return self.quantize + self.code


@dataclass(frozen=True)
class ModelledStep:
    """One step of a real node: its work as measured, its network as modelled; seconds.

    `overlap` is the share of the computing during which the network works already.
    """

    work: NodeWork
    network: float
    overlap: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        waited = max(0.0, self.network - self.overlap * self.work.compute)
        return self.work.compute + self.work.extra + waited


def counted_runs(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs that count for bits: those that did not diverge, or all where there are no others."""
    runs = list(records)
    return [run for run in runs if run.status != "diverged"] or runs


def mean_bits(records: Iterable[RunRecord]) -> dict[str, float]:
    """Return the mean bits a coordinate over some runs, by code; codes that not all runs have are left out.

    Diverged runs count only where there are no others: a gradient that is no longer finite quantizes to
    zeros, whose short codes would flatter the method.
    """
    measured = [run.result["bits_per_coordinate"] for run in counted_runs(records)]
    codes = [code for code in (measured[0] if measured else {}) if all(code in bits for bits in measured)]
    return {code: statistics.fmean(bits[code] for bits in measured) for code in codes}


def sent_code(bits: Mapping[str, float]) -> str | None:
    """Return what a node sends: whole messages where they were measured, else the code with the fewest bits.

    Among equals it is the first by name; None without codes.
    """
    return WHOLE_MESSAGE if WHOLE_MESSAGE in bits else min(sorted(bits), key=bits.__getitem__, default=None)


def exchange_of(records: Iterable[RunRecord], code: str | None = None) -> Exchange | None:
    """Return how the runs of one cell (same method, N and model) exchange gradients.

    Parameters
    ----------
    records : iterable of RunRecord
        That differ in their seed alone.
    code : str, optional
        A key of `bits_per_coordinate`; by default that of `sent_code`. fp32 runs have their own in any case.

    Returns
    -------
    Exchange or None
        None if there are no runs, they have not measured the code, or they sent nothing.
    """
    runs = list(records)
    bits = mean_bits(runs)
    if code is None or FULL_PRECISION_CODE in bits:
        code = sent_code(bits)
    if code is None or not 0 < bits.get(code, 0.0) <= MAX_BITS or not runs[0].result["num_parameters"]:
        return None
    nodes, n = runs[0].config.nodes, runs[0].result["num_parameters"]
    vectors, steps = (sum(run.result[name] for run in runs) for name in ("coordinates_sent", "steps"))
    # Stored runs, and those that were made up, may count neither; synchronous ones send one vector a step.
    local = steps > 0 and runs[0].config.algorithm != SYNCHRONOUS
    per_step = vectors / (steps * nodes * n) if local else 1.0
    collective = _collective(runs[0].config, code)
    down = 0.0
    counted = [run.result["down"]["bits"] for run in runs if "down" in run.result]
    if collective in (TWO_PHASE, SERVER) and counted:
        down = statistics.fmean(counted)
    elif collective == SERVER:  # older records: float32, or taken to be as what the server got
        down = bits[code] if "down=" in runs[0].config.algorithm else float(FLOAT_BITS)
    return Exchange(nodes, n, code, bits[code], per_step, collective, down)


def _collective(config: RunConfig, code: str) -> str:
    """Return how a run's messages travel."""
    if config.algorithm.startswith(_WITH_SERVER):
        return SERVER
    if code == FULL_PRECISION_CODE or _adds_up(config.compressor):
        return ALL_REDUCE
    return config.collective


@functools.cache
def _adds_up(compressor: str | None) -> bool:
    """Whether a method's messages can be added up by the network; one that is not loaded is taken not to."""
    try:
        return compressor is not None and COMPRESSORS.parse(compressor).make().aggregates == "sums"
    except ValueError:
        return False


def node_work(records: Iterable[RunRecord], compute: float | None = None) -> NodeWork | None:
    """Return what one real node does in a step, by the medians over a cell's runs.

    Parameters
    ----------
    records : iterable of RunRecord
        That differ in their seed alone.
    compute : float, optional
        Seconds of a node's forward and backward pass, instead of those measured. To compare methods give all
        the same (`compute_seconds` of all their runs): what a node computes does not depend on the quantizer.

    Returns
    -------
    NodeWork or None
        None if nothing was measured (and, for `compute`, given).
    """
    runs = [run for run in records if run.result["steps"] > 0]
    if compute is None:
        compute = compute_seconds(runs)
    timed = [run for run in runs if "quantize_s" in run.timing]
    if compute is None or not timed:
        return None
    if timed[0].config.is_full_precision:
        return NodeWork(compute)  # the ring adds up on its way: N times less than the simulation does
    quantize = statistics.median(run.timing["quantize_s"] / run.result["steps"] for run in timed)
    code = _code_seconds(timed)
    if code is None:
        return NodeWork(compute, quantize)
    return NodeWork(compute, quantize / timed[0].config.nodes, code)


def compute_seconds(records: Iterable[RunRecord]) -> float | None:
    """Return the median seconds of one node's forward and backward pass over runs; None if not measured."""
    shares = [
        run.timing["compute_s"] / run.result["steps"] / run.config.nodes
        for run in records
        if run.result["steps"] > 0 and "compute_s" in run.timing
    ]
    return statistics.median(shares) if shares else None


def measures_coding(records: Iterable[RunRecord]) -> bool:
    """Whether `node_work` of these runs has the coding of messages, and so a share of the quantizing."""
    return (
        _code_seconds([run for run in records if run.result["steps"] > 0 and "quantize_s" in run.timing])
        is not None
    )


def _code_seconds(runs: list[RunRecord]) -> float | None:
    """Return the time to write one message and to read those of the other nodes; None if not measured."""
    seconds = [
        run.timing["encode_message_s"] + (run.config.nodes - 1) * run.timing["decode_message_s"]
        for run in runs
        if {"encode_message_s", "decode_message_s"} <= run.timing.keys()
    ]
    return statistics.median(seconds) if seconds else None


def modelled_step(exchange: Exchange, work: NodeWork, link: Link, overlap: float = 0.0) -> ModelledStep:
    """Return one step of a node over this link."""
    return ModelledStep(work, exchange.seconds(link), overlap)


def speed_up(exchange: Exchange, work: NodeWork, link: Link, overlap: float = 0.0) -> float:
    """Return how many times faster a step is than that of fp32 with the same nodes, compute time and link."""
    baseline = modelled_step(exchange.at_full_precision(), NodeWork(work.compute), link, overlap)
    return baseline.total / modelled_step(exchange, work, link, overlap).total


def pays_between(exchange: Exchange, work: NodeWork, latency: float = 0.0) -> tuple[float, float] | None:
    """Return between which bandwidths (bytes a second) the step is faster than fp32's.

    (0, W): below W. (W, inf): above W, where only the fewer rounds of the all-gather pay. (0, inf): always.
    None: never; so for fp32 itself, and for one node. None as well for methods of local steps: the formula is
    that of an exchange every step, nothing overlapped.
    """
    if exchange.code == FULL_PRECISION_CODE or exchange.per_step != 1:
        return None
    baseline = exchange.at_full_precision()
    saved_seconds = (baseline.rounds - exchange.rounds) * latency - work.extra
    return bandwidths_that_pay(baseline.moved_bytes - exchange.moved_bytes, saved_seconds)


BITS_OF_FLOAT = 32


@dataclass(frozen=True)
class Traffic:
    """Bits that a method sends for each coordinate, norms included, as measured.

    Attributes
    ----------
    fixed : float or None
        With fixed-width indices (32 for fp32); None where it was not measured.
    elias : float or None
        With the Elias code that is shortest on average; None where none was measured.
    elias_code : str or None
        Its name: ``gamma``, ``delta`` or ``omega``.
    sent : float or None
        In whole messages, each in the layout and code that make it shortest (32 for fp32); None where they
        were not measured.
    """

    fixed: float | None
    elias: float | None
    elias_code: str | None
    sent: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times fewer bits than fp32 are sent; under the shorter code, where that is all we know."""
        measured = [self.sent] if self.sent else [bits for bits in (self.fixed, self.elias) if bits]
        return BITS_OF_FLOAT / min(measured) if measured else None


def traffic_of(records: Iterable[RunRecord]) -> Traffic:
    """Return the mean bits per coordinate over the runs of a method, at all its numbers of nodes.

    Diverged runs are left out wherever others exist; see `mean_bits`.
    """
    bits = mean_bits(records)
    elias = {code: bits[code] for code in ELIAS_CODES if code in bits}
    shortest = min(elias, key=elias.__getitem__, default=None)
    return Traffic(
        fixed=bits.get("fixed", bits.get(FULL_PRECISION_CODE)),
        elias=None if shortest is None else elias[shortest],
        elias_code=shortest,
        sent=bits.get(WHOLE_MESSAGE, bits.get(FULL_PRECISION_CODE)),
    )
