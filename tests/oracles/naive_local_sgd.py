"""Local SGD as its definition has it: one node after the other, lists of models, nothing shared."""

from __future__ import annotations

import numpy as np


def growing_times(num_steps, rounds):
    """Return int(T r (r + 1) / (R (R + 1))) for r = 1..R, the notebook's rule, where R (R + 1) <= 2 T."""
    return [int(num_steps * r * (r + 1) / (rounds * (rounds + 1))) for r in range(1, rounds + 1)]


def local_sgd(start, gradient, rates, times, nodes, momentum=0.0, decay=0.0, at_round="kept"):
    """Return the nodes' models after len(rates) steps; `gradient(node, step, model)` is a node's own."""
    models = [np.array(start, np.float64) for _ in range(nodes)]
    buffers = [np.zeros(len(start)) for _ in range(nodes)]
    for step, rate in enumerate(rates):
        for node in range(nodes):
            direction = gradient(node, step, models[node]) + decay * models[node]
            buffers[node] = momentum * buffers[node] + direction
            models[node] = models[node] - rate * buffers[node]
        if step + 1 in times:
            models = [sum(models) / nodes] * nodes
            if at_round == "reset":
                buffers = [np.zeros(len(start)) for _ in range(nodes)]
            if at_round == "averaged":
                buffers = [sum(buffers) / nodes] * nodes
    return np.array(models)
