"""What the DDP hook is compared with: plain SGD on the mean of an exchange in one process."""

from __future__ import annotations

import numpy as np
import torch
from rank_cases import batch_of, make_network

from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.exchange import SimulatedExchange, TwoPhaseExchange


def simulate(text, nodes, steps, micro=1, *, kind="plain", two_phase=False):
    """Return parameters and residuals of plain SGD on the simulated mean."""
    network = make_network(kind)
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, 0.1)
    layout = Layout(tuple(tuple(p.shape) for p in parameters))
    exchange = (TwoPhaseExchange if two_phase else SimulatedExchange)(
        COMPRESSORS.parse(text).make(), nodes, 0, layout
    )
    for step in range(steps):
        rows = np.zeros((nodes, layout.num_coordinates), np.float32)
        for node in range(nodes):
            network.zero_grad()
            for piece in range(micro):
                inputs, labels = batch_of(step * micro + piece, node)
                torch.nn.functional.cross_entropy(network(inputs), labels).backward()
            rows[node] = torch.cat([p.grad.reshape(-1) for p in parameters]).numpy()
        mean = np.empty(layout.num_coordinates, np.float32)
        if exchange.buffer is not None:
            exchange.buffer[...] += rows
        exchange.mean(None if exchange.buffer is not None else rows, step, mean)
        for p, piece in zip(parameters, torch.from_numpy(mean).split(layout.sizes), strict=True):
            p.grad = piece.view(p.shape)
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in parameters]).numpy(), exchange.arrays()
