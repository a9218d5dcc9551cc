"""Processes that run a method's nodes on a problem: the parent has the problem, they have the method.

Each process has half of the nodes, and which ones is drawn anew for every run. What nodes know of others
without a message differs then from the simulation, where all are in one process.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

import numpy as np
import torch

from qsgd_lab import plugins
from qsgd_lab.algorithms.protocol import Hyperparameters
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.problems.simulate import drawn_noise
from qsgd_lab.suite.node_exchange import Line, NodeExchange

#: Seconds after which nodes that ask for nothing are given up.
_PATIENCE = 300.0


@dataclass(frozen=True)
class NodesRun:
    """What nodes came to that share nothing.

    Attributes
    ----------
    errors : ndarray of float64, shape (R,)
        Of the last model in each repetition.
    agree : bool
        Whether all nodes end with the same model.
    bits, claimed : int
        What all nodes sent in all repetitions, in bytes that passed, and by the word of their wires.
    """

    errors: Floats
    agree: bool
    bits: int
    claimed: int


@dataclass(frozen=True)
class _Work:
    """What a process is told of a run."""

    local: tuple[int, ...]
    nodes: int
    algorithm: str
    compressor: str
    start: Floats
    seeds: tuple[int, ...]
    rates: tuple[float, ...]


class NodeProcesses:
    """Processes that have nothing in common but the plug-ins' files; they start when they are first needed.

    They load the plug-ins that are loaded now.

    Parameters
    ----------
    nodes : int
        N, at least 2.
    draw : random.Random, optional
        What divides the nodes; by default the system's, so that nobody knows it beforehand.
    """

    def __init__(self, nodes: int, draw: random.Random | None = None) -> None:
        self.nodes, self.draw = nodes, draw or random.SystemRandom()
        self._plugins = [name for name in os.environ.get(plugins.VARIABLE, "").split(os.pathsep) if name]
        self._lines: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        method: ComparedMethod,
        problem: Problem,
        *,
        seed: int,
        steps: int,
        repeats: range,
        rate_scale: float = 1.0,
    ) -> NodesRun:
        """Run R repetitions; `qsgd_lab.problems.simulate.simulate` has the same parameters and bits.

        Raises
        ------
        RuntimeError
            In one line, if a node fails, or nodes do not agree on what comes next.
        """
        order = self.draw.sample(range(self.nodes), self.nodes)
        halves = [tuple(sorted(order[first::2])) for first in range(2)]
        seeds = tuple((seed << 20) + repeat for repeat in repeats)
        rates = tuple(rate_scale * problem.rate(step) for step in range(steps))
        texts = str(method.algorithm), str(method.compressor)
        oracle = _Oracle(problem, (self.nodes, len(repeats)), repeats.start, seed)
        try:
            self._start()
            for line, local in zip(self._lines, halves, strict=True):
                line.send(_Work(local, self.nodes, *texts, problem.start, seeds, rates))
            with np.errstate(over="ignore", invalid="ignore"):
                ends = self._serve(oracle, halves)
                errors = problem.error(ends[0][0])
        except BaseException:
            self.close()  # processes that wait for an answer are of no use
            raise
        agree = all(np.array_equal(ends[0][0], models, equal_nan=True) for models, _, _ in ends)
        return NodesRun(
            errors, agree, sum(bits for _, bits, _ in ends), sum(claimed for _, _, claimed in ends)
        )

    def close(self) -> None:
        """End the processes."""
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.terminate()
            process.join()
        self._lines, self._processes = [], []

    def _start(self) -> None:
        if self._processes:
            return
        # Where the system can do it, both are forked from a server that has loaded the lab, and no plug-in.
        ways = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
        if "forkserver" in ways:
            context.set_forkserver_preload([__name__])
        for _ in range(2):
            own, theirs = context.Pipe()
            process = context.Process(target=_process, args=(theirs, self._plugins), daemon=True)
            process.start()
            theirs.close()
            self._lines.append(own)
            self._processes.append(process)

    def _serve(self, oracle: _Oracle, halves: Sequence[tuple[int, ...]]) -> list[Any]:
        """Answer until all processes have ended; return what each ends with."""
        while True:
            kind, contents = self._questions()
            if kind == "end":
                return contents
            by_node = dict(zip(chain(*halves), chain(*contents), strict=True))
            rows = [by_node[node] for node in range(self.nodes)]
            answers = rows if kind == "send" else oracle.answer(kind, rows)
            for line, half in zip(self._lines, halves, strict=True):
                line.send(answers if kind == "send" else [answers[node] for node in half])

    def _questions(self) -> tuple[str, list[Any]]:
        """Return the kind of the processes' next question, and what belongs to it, by process."""
        asked: dict[int, tuple[str, Any]] = {}
        while len(asked) < len(self._lines):
            waiting = [number for number in range(len(self._lines)) if number not in asked]
            if not wait([self._lines[number] for number in waiting], _PATIENCE):
                raise RuntimeError(f"nothing was sent for {_PATIENCE:g} s")
            for number in waiting:
                if not self._lines[number].poll():
                    continue
                try:
                    asked[number] = self._lines[number].recv()
                except (EOFError, ConnectionError):
                    raise RuntimeError("a process has died") from None
                if asked[number][0] == "failed":
                    raise RuntimeError(asked[number][1])
        kinds = {kind for kind, _ in asked.values()}
        if len(kinds) > 1:
            raise RuntimeError("the nodes do not agree on the number of rounds")
        return kinds.pop(), [asked[number][1] for number in range(len(self._lines))]


class _Oracle:
    """The parent's side of gradients: those of the simulation, as all nodes ask together."""

    def __init__(self, problem: Problem, shape: tuple[int, int], first: int, seed: int) -> None:
        self.problem, self.shape = problem, (*shape, problem.num_coordinates)
        self.noise = self.before = drawn_noise(problem, self.shape, first, seed)

    def answer(self, kind: str, rows: list[Any]) -> list[Any]:
        """Return each node's gradients: in all repetitions, or in one for a second time."""
        if kind == "gradients":
            self.before = copy.deepcopy(self.noise)
            return list(self.problem.gradients(np.array(rows), self.noise))
        lane, points = rows[0][0], np.zeros(self.shape)
        points[:, lane] = [point for _, point in rows]
        if kind == "again":
            return list(self.problem.gradients(points, copy.deepcopy(self.before))[:, lane])
        return list(self.problem.full_gradients(points)[:, lane])


@dataclass
class _LocalOracle:
    """The nodes' side of further gradients; see `qsgd_lab.problems.simulate.NoiseAgain`."""

    line: Line
    lane: int

    def again(self, point: torch.Tensor) -> torch.Tensor:
        return self._asked("again", point)

    def full(self, point: torch.Tensor) -> torch.Tensor:
        return self._asked("full", point)

    def _asked(self, kind: str, point: torch.Tensor) -> torch.Tensor:
        rows = np.broadcast_to(point.numpy(), (len(self.line.local), point.shape[-1]))
        return torch.from_numpy(np.array(self.line.ask(kind, [(self.lane, row) for row in rows])))


def _process(connection: Connection, plugin_names: Sequence[str]) -> None:
    """Run what the parent sends, until it closes the line."""

    def ask(kind: str, content: Any) -> Any:
        connection.send((kind, content))
        return connection.recv()

    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        torch.set_num_threads(1)
        while True:
            work = connection.recv()
            line = Line(work.local, work.nodes, ask)
            try:
                plugins.load(plugin_names)  # once
                with np.errstate(over="ignore", invalid="ignore"):
                    end = "end", (_last_models(work, line), line.bits, line.claimed)
            except (EOFError, ConnectionError):
                raise
            except Exception as error:
                end = "failed", f"{type(error).__name__}: {str(error)[:200]}"  # type: ignore[assignment]
            connection.send(end)


def _last_models(work: _Work, line: Line) -> Floats:
    """Return the last mean model in each repetition, shape (R, n)."""
    method, compressor = ALGORITHMS.parse(work.algorithm), COMPRESSORS.parse(work.compressor)
    settings = Hyperparameters(max(work.rates), num_steps=len(work.rates))
    shape = (len(line.local), len(work.seeds), work.start.size)
    lanes = []
    for lane, seed in enumerate(work.seeds):
        algorithm = method.make()
        if algorithm.needs_oracle:
            algorithm.oracle = _LocalOracle(line, lane)
        exchange = NodeExchange(line, compressor.make(), work.start.size, seed)
        first = torch.from_numpy(np.array(work.start))
        parameters = first.repeat(shape[0], 1) if algorithm.replicas else first
        algorithm.begin(parameters, exchange, settings)
        lanes.append((algorithm, parameters))
    for step, rate in enumerate(work.rates):
        points = np.empty(shape)
        for lane, (_, parameters) in enumerate(lanes):
            points[:, lane] = parameters.numpy()
        gradients = np.array(line.ask("gradients", list(points)))
        for lane, (algorithm, _) in enumerate(lanes):
            algorithm.step(torch.from_numpy(np.ascontiguousarray(gradients[:, lane])), step, rate)
    line.has_ended = True
    return np.array([algorithm.consensus().numpy() for algorithm, _ in lanes])
