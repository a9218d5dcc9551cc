"""Starts the ranks of a measurement, and sets what they measured beside the model."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from qsgd_lab.errors import RunFailedError
from qsgd_lab.link_lab.load import LoadMeter
from qsgd_lab.link_lab.namespaces import Place, loopback, shaped
from qsgd_lab.theory.collectives import Cost, Network, Step, collective_cost
from qsgd_lab.threads import num_threads

FP32, FP16, POWERSGD = "fp32", "fp16", "powersgd"
#: A rank that hangs is given up after so long.
_LIMIT_S = 1800.0


class Asked(NamedTuple):
    """What to measure.

    Attributes
    ----------
    nodes : int
    model, dataset : str
        The network, and the data set whose images it takes; nothing is read from it.
    batch : int
        Images of a node in a step.
    steps : int
        Timed steps of each method.
    methods : sequence of str
        ``fp32``, ``fp16``, ``powersgd``, or bits and collective such as ``2:two-phase``, and the layout of
        messages, ``2:two-phase:ranged``, if it is not "fixed".
    bandwidth : float or None
        Bytes a second of the shaped links; None: loopback.
    timeout_s : float
        Of a collective.
    """

    nodes: int
    model: str
    dataset: str
    batch: int
    steps: int
    methods: Sequence[str]
    bandwidth: float | None
    timeout_s: float = 120.0


class Measured(NamedTuple):
    """One method; seconds and bytes of a step.

    Attributes
    ----------
    method : str
    steps : int
    median_s, least_s, deviation_s : float
        Over the timed steps, of the slowest rank.
    processor_s : float
        Median of processor time, all threads of rank 0.
    sent_bytes : float
        Median of what left rank 0 by its interface's counter; with headers.
    counted_bytes : float or None
        Median of what the hook counts as sent by rank 0; None for torch's hooks.
    modelled_bytes, modelled_s : float or None
        By the formulas; None for PowerSGD. Seconds are those of a step without exchange, of the processor
        beyond what that takes, and of the network, one after the other. The rate is that of the shaped link;
        over loopback only messages take time, since bytes are moved by the processor.
    is_equal : bool
        Whether all ranks ended with the same parameters.
    """

    method: str
    steps: int
    median_s: float
    least_s: float
    deviation_s: float
    processor_s: float
    sent_bytes: float
    counted_bytes: float | None
    modelled_bytes: float | None
    modelled_s: float | None
    is_equal: bool


class Outcome(NamedTuple):
    """What was measured, and on what; `load` is how many cores others used meanwhile."""

    asked: Asked
    parameters: int
    compute_s: float
    latency_s: float
    load: float
    cores: int
    rows: list[Measured]

    @property
    def is_calm(self) -> bool:
        """Whether the ranks, be they more than the cores, had the machine: then ratios mean something."""
        return self.load + min(self.asked.nodes, self.cores) <= self.cores + 0.5

    def speed_up(self, row: Measured) -> float | None:
        """Return how many times faster a method's step was than float32's; None on a busy machine."""
        base = next((other for other in self.rows if other.method == FP32), None)
        return base.median_s / row.median_s if base is not None and self.is_calm else None


def run(asked: Asked) -> Outcome:
    """Measure.

    Raises
    ------
    UsageError
        If links cannot be shaped here.
    RunFailedError
        If a rank fails, with the last line that it wrote.
    """
    cores, meter = num_threads(None), LoadMeter()
    places: AbstractContextManager[list[Place]] = nullcontext(loopback(asked.nodes))
    if asked.bandwidth is not None:
        places = shaped(asked.nodes, asked.bandwidth)
    with ended_by_sigterm(), tempfile.TemporaryDirectory() as folder, places as found:
        settings = {**asked._asdict(), "interfaces": [place.interface for place in found]}
        results = run_ranks([sys.executable, "-m", "qsgd_lab.link_lab.worker"], settings, Path(folder), found)
    load, first = meter.others(), results[0]
    # Loopback has no wire: what moving bytes takes is time of the processor, which is measured.
    network = Network(asked.bandwidth or math.inf, first["latency_s"])
    rows = [_row(name, asked, first, network, max(1.0, asked.nodes / cores)) for name in asked.methods]
    return Outcome(asked, first["parameters"], first["compute_s"], first["latency_s"], load, cores, rows)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does: namespaces and ranks do not stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_starter() -> None:
    """End this process, which `run_ranks` has started, at once when the one that did so has gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock the interpreter takes when it ends
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_ranks(
    program: Sequence[str], settings: Mapping[str, Any], folder: Path, places: Sequence[Place]
) -> list[dict[str, Any]]:
    """Run a program once for each place, and return what each rank has written.

    Parameters
    ----------
    program : sequence of str
        The command's beginning; a file of settings and the rank follow. It writes ``rank<r>.json`` beside it,
        and calls `end_with_starter`.
    settings : mapping
        JSON-ready.
    folder : Path
        Empty.
    places : sequence of Place
        A rank in each.

    Raises
    ------
    RunFailedError
        If a rank fails, with the last line that it wrote.
    """
    (folder / "settings.json").write_text(json.dumps(settings))
    started: list[subprocess.Popen[bytes]] = []
    for rank, place in enumerate(places):
        environment = os.environ | {"GLOO_SOCKET_IFNAME": place.interface, "OMP_NUM_THREADS": "1"}
        with (folder / f"said{rank}").open("w") as said:
            started.append(
                subprocess.Popen(
                    [*place.prefix, *program, str(folder / "settings.json"), str(rank)],
                    env=environment,
                    stdin=subprocess.PIPE,  # its end tells a rank that this process is gone
                    stdout=said,
                    stderr=said,
                )
            )
    try:
        codes = [process.wait(_LIMIT_S) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()  # closes the pipe, and takes the exit code
    for number, code in enumerate(codes):
        if code:
            lines = (folder / f"said{number}").read_text().strip().splitlines()
            said_last = f": {lines[-1].strip()}" if lines else ""
            raise RunFailedError(f"rank {number} ended with exit code {code}{said_last}")
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(len(places))]


def _row(name: str, asked: Asked, first: dict[str, Any], network: Network, turns: float) -> Measured:
    """Return what a method took; ranks that share a core take `turns`."""
    seconds, processor, sent, counted = zip(*first["steps"][name], strict=True)
    cost = modelled(name, asked.nodes, first["parameters"], first["message_bytes"])
    more = max(0.0, statistics.median(processor) - first["compute_processor_s"])
    step = Step(first["compute_s"], turns * more)
    return Measured(
        method=name,
        steps=len(seconds),
        median_s=statistics.median(seconds),
        least_s=min(seconds),
        deviation_s=statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
        processor_s=statistics.median(processor),
        sent_bytes=statistics.median(sent),
        counted_bytes=None if None in counted else statistics.median(counted),
        modelled_bytes=None if cost is None else cost.bytes,
        modelled_s=None if cost is None else step.seconds(cost.seconds(network)),
        is_equal=first["equal"][name],
    )


def modelled(name: str, nodes: int, parameters: int, message_bytes: dict[str, int]) -> Cost | None:
    """Return what a method's collective takes; None for PowerSGD.

    Parameters
    ----------
    name : str
    nodes, parameters : int
    message_bytes : dict
        The length of one message of all parameters, by method.
    """
    if name in (FP32, FP16):
        return collective_cost("all-reduce", nodes, parameters, 32.0 if name == FP32 else 16.0)
    if name == POWERSGD:
        return None
    collective = name.split(":")[1]
    return collective_cost(collective, nodes, parameters, 8 * message_bytes[name] / parameters)
