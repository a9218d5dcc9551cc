"""One algorithm on one problem: R repetitions side by side, their errors and traffic at checkpoints."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.algorithms.protocol import Algorithm, Hyperparameters
from qsgd_lab.compressors import Compressor
from qsgd_lab.problems.noise import replayed
from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.problems.stacked_exchange import StackedExchange
from qsgd_lab.registry import Spec
from qsgd_lab.stream import Purpose, generator
from qsgd_lab.traffic import Flow, Traffic

#: Errors are looked at so often in a run.
CHECKPOINTS = 40


@dataclass(frozen=True)
class Trace:
    """A run of R repetitions, at C checkpoints.

    Attributes
    ----------
    steps, rounds : ndarray of int64, shape (C,)
        Steps taken, and steps so far in which anything was exchanged.
    sent_bits, received_bits : ndarray of float64, shape (C,)
        Of one node so far, in whole messages: a mean over nodes and repetitions.
    flows : dict of str to list of Flow
        By collective, at each checkpoint: what of this went through it.
    errors : ndarray of float64, shape (C, R)
    ends_apart : bool
        Whether the nodes end with different models, so that their mean is one exchange more.
    """

    steps: NDArray[np.int64]
    rounds: NDArray[np.int64]
    sent_bits: Floats
    received_bits: Floats
    flows: dict[str, list[Flow]]
    errors: Floats
    ends_apart: bool = False


class NoiseAgain:
    """The oracle of a lane: gradients with the noise of the step, and without any.

    Parameters
    ----------
    problem : Problem
    shape : tuple of int
        (N, R, n), of all repetitions.
    own : slice
        The lane's repetitions.
    """

    def __init__(self, problem: Problem, shape: tuple[int, int, int], own: slice) -> None:
        self.problem, self.shape, self.own = problem, shape, own
        #: The generator as it was before the step's draws.
        self.noise: np.random.Generator

    def again(self, point: torch.Tensor) -> torch.Tensor:
        """Return the gradients of the step's draws at another point of each repetition."""
        points = np.zeros(self.shape)
        points[:, self.own] = point.numpy().reshape(-1, self.shape[2])
        gradients = self.problem.gradients(points, copy.deepcopy(self.noise))[:, self.own]
        return torch.from_numpy(np.ascontiguousarray(gradients.reshape(self.shape[0], -1)))

    def full(self, point: torch.Tensor) -> torch.Tensor:
        """Return the gradients of the nodes' functions at a point of each repetition."""
        own = point.numpy().reshape(-1, self.shape[2])
        points = np.broadcast_to(own, (self.shape[0], *own.shape))
        return torch.from_numpy(self.problem.full_gradients(points).reshape(self.shape[0], -1))


class _Lane:
    """Repetitions that one algorithm object serves: all of them, where it works coordinate by coordinate."""

    def __init__(
        self,
        algorithm: Algorithm,
        compressor: Compressor,
        problem: Problem,
        nodes: int,
        repeats: range,
        seed: int,
        settings: Hyperparameters,
        oracle: NoiseAgain,
    ) -> None:
        if algorithm.needs_oracle:
            algorithm.oracle = oracle
        self.algorithm, self.shape = algorithm, (nodes, len(repeats), problem.num_coordinates)
        self.exchange = StackedExchange(compressor, nodes, problem.num_coordinates, repeats, seed)
        first = torch.from_numpy(np.tile(problem.start, len(repeats)))
        self.parameters = first.repeat(nodes, 1) if algorithm.replicas else first
        algorithm.begin(self.parameters, self.exchange, settings)

    def points(self) -> Floats:
        """Return where the nodes take their gradients, shape (N, R, n)."""
        points = self.parameters.numpy().reshape(-1, *self.shape[1:])
        return np.broadcast_to(points, self.shape)

    def step(self, gradients: Floats, step: int, rate: float) -> None:
        self.algorithm.step(torch.from_numpy(gradients.reshape(self.shape[0], -1)), step, rate)

    def consensus(self) -> Floats:
        return self.algorithm.consensus().numpy().reshape(self.shape[1:])


def simulate(
    problem: Problem,
    algorithm: Spec,
    compressor: Spec,
    *,
    nodes: int,
    num_steps: int,
    repeats: range,
    seed: int = 0,
    rate_scale: float = 1.0,
) -> Trace:
    """Run R repetitions; the same seed and repetitions meet the same noise under every method.

    Parameters
    ----------
    problem : Problem
        Made for these nodes.
    algorithm, compressor : Spec
    nodes, num_steps : int
        N and T.
    repeats : range
        Numbers of the repetitions, R of them.
    seed : int
        Below 2**32.
    rate_scale : float
        Factor of the problem's learning rates.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # A method that leaves the finite numbers has diverged: that is a result.
        with np.errstate(over="ignore", invalid="ignore"):
            return _simulate(problem, algorithm, compressor, nodes, num_steps, repeats, seed, rate_scale)
    finally:
        torch.set_num_threads(before)


def _simulate(
    problem: Problem,
    algorithm: Spec,
    compressor: Spec,
    nodes: int,
    num_steps: int,
    repeats: range,
    seed: int,
    rate_scale: float,
) -> Trace:
    peak = max(problem.rate(step) for step in range(num_steps))
    settings = Hyperparameters(rate_scale * peak, num_steps=num_steps)
    whole = algorithm.make().is_elementwise
    parts = [repeats] if whole else [range(r, r + 1) for r in repeats]
    shape = (nodes, len(repeats), problem.num_coordinates)
    oracles = [
        NoiseAgain(problem, shape, slice(part[0] - repeats[0], part[-1] + 1 - repeats[0])) for part in parts
    ]
    lanes = [
        _Lane(algorithm.make(), compressor.make(), problem, nodes, part, seed, settings, oracle)
        for part, oracle in zip(parts, oracles, strict=True)
    ]
    needs_oracle = lanes[0].algorithm.needs_oracle
    noise = drawn_noise(problem, shape, repeats.start, seed)
    due = {math.ceil(num_steps * i / CHECKPOINTS) for i in range(1, CHECKPOINTS + 1)}
    rows: list[tuple[int, int, dict[str, Flow]]] = []
    errors: list[Floats] = []
    for step in range(num_steps):
        points = _joined([lane.points() for lane in lanes], axis=1)
        if needs_oracle:
            before = copy.deepcopy(noise)
            for oracle in oracles:
                oracle.noise = before
        gradients = problem.gradients(points, noise)
        rate = rate_scale * problem.rate(step)
        for lane, own in zip(lanes, np.split(gradients, len(lanes), axis=1), strict=True):
            lane.step(np.ascontiguousarray(own), step, rate)
        if step + 1 in due:
            rows.append((step + 1, *_together([lane.exchange.traffic for lane in lanes], nodes)))
            errors.append(problem.error(_joined([lane.consensus() for lane in lanes], axis=0)))
    share = nodes * len(repeats)
    return Trace(
        steps=np.array([step for step, _, _ in rows]),
        rounds=np.array([rounds for _, rounds, _ in rows]),
        sent_bits=np.array([sum(f.sent_bits for f in flows.values()) / share for _, _, flows in rows]),
        received_bits=np.array(
            [sum(f.received_bits for f in flows.values()) / share for _, _, flows in rows]
        ),
        flows={
            collective: [
                Flow(flow.rounds, flow.sent_bits / share, flow.received_bits / share)
                for _, _, flows in rows
                for flow in (flows.get(collective, Flow(0, 0, 0)),)
            ]
            for collective in rows[-1][2]
        },
        errors=np.array(errors),
        ends_apart=any(bool((lane.parameters != lane.parameters[:1]).any()) for lane in lanes)
        and lanes[0].algorithm.replicas,
    )


def drawn_noise(problem: Problem, shape: tuple[int, int, int], first: int, seed: int) -> np.random.Generator:
    """Return what draws the noise of a block of repetitions, shape (N, R, n), the first of which is given."""

    def make() -> np.random.Generator:
        return generator(seed, Purpose.GRADIENT_NOISE, first)

    # Sizes and kinds of draws follow from the class and the shape where the problem says so.
    return replayed((type(problem), shape, first, seed), make) if problem.keeps_noise else make()


def _joined(parts: list[Floats], axis: int) -> Floats:
    """Return the lanes' arrays side by side; those of one lane are read where they are."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def _together(parts: list[Traffic], nodes: int) -> tuple[int, dict[str, Flow]]:
    """Return the rounds, and what all nodes in all repetitions sent and received by each collective."""
    flows: dict[str, Flow] = {}
    for part in parts:
        for collective, flow in part.flows(nodes).items():
            known = flows.get(collective, Flow(0, 0, 0))
            flows[collective] = Flow(
                max(known.rounds, flow.rounds),
                known.sent_bits + flow.sent_bits,
                known.received_bits + flow.received_bits,
            )
    return max(part.rounds for part in parts), flows
