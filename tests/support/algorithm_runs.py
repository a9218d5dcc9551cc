"""Run an algorithm on gradients of the caller's, without data, network or store."""

from __future__ import annotations

import numpy as np
import torch

from qsgd_lab.algorithms.protocol import Hyperparameters
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS, FullPrecision
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.exchange import SimulatedExchange


class _Double(FullPrecision):
    """float64 as it is: the laws hold to more digits than float32 has."""

    def read(self, gradient):
        return gradient


class _DoubleExchange(SimulatedExchange):
    def __init__(self, compressor, *arguments):
        super().__init__(_Double() if type(compressor) is FullPrecision else compressor, *arguments)

    def fork(self, compressor):
        return self._forked(
            _DoubleExchange(compressor, self.nodes, self._fork_seed(), self.layout, self._like, self)
        )


class Run:
    """N nodes in one algorithm; `gradient(node, step, model)` returns a node's gradient.

    `algorithm` and `compressor` are texts, or objects already made. With `double`, everything is float64, as
    far as the compressor keeps it so.
    """

    def __init__(
        self,
        algorithm,
        start,
        gradient,
        nodes,
        num_steps,
        compressor="fp32",
        momentum=0.0,
        decay=0.0,
        double=False,
    ):
        self.algorithm = ALGORITHMS.parse(algorithm).make() if isinstance(algorithm, str) else algorithm
        made = COMPRESSORS.parse(compressor).make() if isinstance(compressor, str) else compressor
        exchange = _DoubleExchange if double else SimulatedExchange
        self.exchange = exchange(made, nodes, 5, Layout.of(len(start)))
        self.dtype = np.float64 if double else np.float32
        first = torch.tensor(np.asarray(start, self.dtype))
        self.parameters = first.repeat(nodes, 1) if self.algorithm.replicas else first
        settings = Hyperparameters(1.0, momentum, decay, nesterov=False, num_steps=num_steps)
        self.algorithm.begin(self.parameters, self.exchange, settings)
        self.gradient, self.nodes, self.num_steps = gradient, nodes, num_steps

    def models(self):
        """Return the parameters at which each node takes its gradient, shape (N, n)."""
        rows = self.parameters if self.algorithm.replicas else self.parameters.repeat(self.nodes, 1)
        return rows.numpy().astype(np.float64)

    def step(self, step, rate):
        """Take one step."""
        rows = [self.gradient(node, step, model) for node, model in enumerate(self.models())]
        gradients = torch.tensor(np.array(rows, self.dtype))
        buffer = self.algorithm.gradient_buffer
        if buffer is not None:
            buffer += gradients.numpy()
        self.algorithm.step(gradients, step, rate)

    def go(self, rates):
        """Take a step for each rate, and return the consensus."""
        for step, rate in enumerate(rates):
            self.step(step, rate)
        return self.consensus()

    def consensus(self):
        """Return what is evaluated, shape (n,)."""
        return self.algorithm.consensus().numpy().copy()

    @property
    def sent_bits(self):
        """Bits that all nodes have sent, in whole messages."""
        ledger = self.exchange.ledger.fetch()
        return ledger.bits.get("message", 0) + 32 * ledger.raw_coordinates
