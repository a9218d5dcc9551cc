"""The audit of a method: whether what is sent explains what nodes do, and is counted.

A method runs twice on a task for some steps: simulated as in the benchmark, and by nodes that share nothing
and send bytes, in another order. Both must end with the same bits. Messages are also decoded by a process
that has never seen a sender.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qsgd_lab import plugins
from qsgd_lab.algorithms.protocol import Hyperparameters
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.stream import Purpose, generator
from qsgd_lab.suite.cells import CellResult, problem_of
from qsgd_lab.suite.definition import Suite, Task
from qsgd_lab.suite.node_exchange import Hub, NodeExchange
from qsgd_lab.suite.submission import Submission

#: Steps of an audit before a run: a few rounds of methods that exchange every 8 steps.
STEPS = 24
#: Messages of an audit that are also decoded by a process that never saw a sender, about.
_DECODED = 64
#: What each finding says is wrong.
ORDER = (
    "the nodes' order or shared state changes the result: nodes know what was not sent, or a method reads a "
    "clock, the environment or a global"
)
SIZE = "its wire's size is not that of the packed messages: {claimed} bits counted, {bits} sent"
DECODER = "a process that never saw the sender decodes other values: the decoder reads what was not sent"
UNREADABLE = "a process that never saw the sender cannot decode its messages: {error}"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a method.

    Attributes
    ----------
    check : {"nodes", "size", "decoder"}
    spec, words : str
    """

    check: str
    spec: str
    words: str

    def __str__(self) -> str:
        return f"{self.spec}: {self.check}: {self.words}"


def audit_method(
    spec: str,
    problem: Problem,
    *,
    nodes: int,
    seed: int,
    steps: int = STEPS,
    rate_scale: float = 1.0,
    decoder: Executor | None = None,
) -> list[Finding]:
    """Return what is wrong with a method; an empty list if nothing is.

    Parameters
    ----------
    spec : str
    problem : Problem
        Made for these nodes.
    nodes, seed, steps : int
    rate_scale : float
        Factor of the problem's learning rates.
    decoder : Executor, optional
        A process that has never seen a sender (`fresh_process`), which takes seconds to start; without one,
        nobody else decodes the messages.
    """
    method = ComparedMethod.parse(spec)
    # First the simulation: what a method keeps in its classes is then there, and must change nothing.
    trace = simulate(
        problem,
        method.algorithm,
        method.compressor,
        nodes=nodes,
        num_steps=steps,
        repeats=range(1),
        seed=seed,
        rate_scale=rate_scale,
    )
    order = generator(seed, Purpose.DATA_ORDER, nodes).permutation(nodes).tolist()
    # An odd stride, so that the messages are of all nodes.
    hub = Hub(order if order != sorted(order) else order[::-1], every=steps * nodes // _DECODED | 1)
    error = _by_nodes(hub, method, problem, seed, steps, rate_scale)
    findings = []
    if not np.array_equal(error, trace.errors[-1], equal_nan=True):
        findings.append(Finding("nodes", spec, ORDER))
    if hub.bits != hub.claimed or hub.bits != round(trace.sent_bits[-1] * nodes):
        findings.append(Finding("size", spec, SIZE.format(claimed=hub.claimed, bits=hub.bits)))
    if decoder is not None and hub.messages:
        findings += _decoded_apart(spec, str(method.compressor), hub, problem.num_coordinates, decoder)
    return findings


def audit_submission(
    submission: Submission, suite: Suite, tasks: Sequence[Task], decoder: Executor
) -> Iterator[tuple[str, list[Finding]]]:
    """Yield each method of a submission, and what is wrong with it on the problems among the tasks.

    Where all tasks are networks, it is audited on the scored problems: its messages are the same there. The
    decoder is as in `audit_method`.
    """
    problems = [task for task in tasks if task.kind == "problem"] or list(suite.scored)
    for spec in dict.fromkeys(spec for specs in submission.specs.values() for spec in specs):
        findings: dict[tuple[str, str], Finding] = {}
        for task in problems:
            problem = problem_of(task, task.seed, suite.nodes).problem
            # One task is enough for the decoder, which is the same on every other.
            other = decoder if task is problems[0] else None
            found = audit_method(spec, problem, nodes=suite.nodes, seed=task.seed, decoder=other)
            findings |= {(finding.check, finding.words): finding for finding in found}
        yield spec, list(findings.values())


def audit_cells(
    cells: Sequence[CellResult], suite: Suite, decoder: Executor
) -> Iterator[tuple[CellResult, list[Finding]]]:
    """Yield each cell of a problem, and what is wrong with the run behind its first test seed.

    That run is repeated, all of it, by nodes that share nothing and send bytes: a cheat that begins late in
    it, or only at its tuned rate, is found. The decoder is as in `audit_method`.
    """
    for cell in cells:
        task = suite.task(cell.task)
        if task.kind != "problem":
            continue
        problem, scale = problem_of(task, task.seed, suite.nodes).problem, cell.scale
        options = {"nodes": suite.nodes, "seed": task.seed, "steps": task.steps}
        yield cell, audit_method(cell.spec, problem, **options, rate_scale=scale, decoder=decoder)


def fresh_process() -> ProcessPoolExecutor:
    """Return a process that has seen no sender; it starts, and loads the plug-ins, when it is first used."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _by_nodes(
    hub: Hub, method: ComparedMethod, problem: Problem, seed: int, steps: int, rate_scale: float
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the final error, shape (1,), of nodes that share nothing."""
    nodes, peak = len(hub.order), max(problem.rate(step) for step in range(steps))
    settings = Hyperparameters(rate_scale * peak, num_steps=steps)
    # The simulation numbers repetitions from 0, and this is its first one.
    noises = [generator(seed, Purpose.GRADIENT_NOISE, 0) for _ in range(nodes)]

    def work(node: int) -> Any:
        algorithm = method.algorithm.make()
        exchange = NodeExchange(hub, node, method.compressor.make(), problem.num_coordinates, seed << 20)
        first = torch.from_numpy(np.array(problem.start))
        parameters = first.repeat(1, 1) if algorithm.replicas else first
        algorithm.begin(parameters, exchange, settings)
        for step in range(steps):
            own = parameters.numpy().reshape(1, 1, -1)
            points = np.broadcast_to(own, (nodes, 1, problem.num_coordinates))
            gradients = problem.gradients(points, noises[node])[node]
            algorithm.step(
                torch.from_numpy(np.ascontiguousarray(gradients)), step, rate_scale * problem.rate(step)
            )
        return algorithm.consensus().numpy().copy()

    with np.errstate(over="ignore", invalid="ignore"):
        ends = hub.run(work)
        return problem.error(ends[0][None])


def _decoded_apart(spec: str, compressor: str, hub: Hub, dimension: int, decoder: Executor) -> list[Finding]:
    messages = [message for fork, message, _ in hub.messages if fork == 0][::-1]
    own = [hashlib.sha256(decoded).hexdigest() for fork, _, decoded in hub.messages if fork == 0][::-1]
    found = decoder.submit(decode, compressor, messages, dimension).result()
    if isinstance(found, str):
        return [Finding("decoder", spec, UNREADABLE.format(error=found))]
    return [] if found == own else [Finding("decoder", spec, DECODER)]


def decode(compressor: str, messages: Sequence[bytes], dimension: int) -> list[str] | str:
    """Return digests of what messages decode to, or the error in a line; runs in a process of its own."""
    from qsgd_lab.compressors import COMPRESSORS

    plugins.load_from_environment()
    receiver, layout = COMPRESSORS.parse(compressor).make(), Layout.of(dimension)
    digests = []
    for message in messages:
        try:
            values = receiver.decompress(receiver.wire.unpack(message, layout))
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:100]}"
        digests.append(hashlib.sha256(np.asarray(values, np.float32).tobytes()).hexdigest())
    return digests
