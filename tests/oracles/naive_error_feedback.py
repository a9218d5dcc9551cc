"""Error feedback as papers write it, with the learning rate inside the residual; float64, node by node."""

from __future__ import annotations

import numpy as np


def top_coordinate(vector):
    """Return a vector with nothing but its largest coordinate."""
    kept = np.zeros_like(vector)
    place = int(np.argmax(np.abs(vector)))
    kept[place] = vector[place]
    return kept


def ef_sgd(start, gradients, rates):
    """Return the points of EF-SGD (Karimireddy et al. 2019, algorithm 2) on N nodes.

    Each node compresses p = rate * gradient + error, the point moves against the mean of what was sent, and
    the error is what was not sent. `gradients` has shape (T, N, n); a point a step is returned, and the
    nodes' last errors.
    """
    point = np.array(start, np.float64)
    errors = np.zeros(gradients.shape[1:], np.float64)
    points = []
    for of_nodes, rate in zip(gradients, rates, strict=True):
        update = np.zeros_like(point)
        for node, gradient in enumerate(of_nodes):
            wanted = rate * gradient.astype(np.float64) + errors[node]
            sent = top_coordinate(wanted)
            errors[node] = wanted - sent
            update += sent / len(of_nodes)
        point = point - update
        points.append(point)
    return np.array(points), errors
