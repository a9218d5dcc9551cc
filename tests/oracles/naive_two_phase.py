"""Two-phase averaging by loops over nodes and shards; the compressor keeps the largest coordinates."""

from __future__ import annotations

import numpy as np


def owner_of(index, sizes, nodes, block=512):
    """Return which node owns a coordinate of a vector of tensors."""
    for tensor, size in enumerate(sizes):
        if index < size:
            blocks = -(-size // block)
            for part in reversed(range(nodes)):
                if index // block >= part * blocks // nodes:
                    return (part + tensor) % nodes
        index -= size
    raise AssertionError


def keep_largest(vector, count):
    """Return the vector with all but its `count` largest magnitudes 0; the lower index wins a tie."""
    chosen = sorted(range(len(vector)), key=lambda i: (-abs(vector[i]), i))[:count]
    kept = np.zeros_like(vector)
    kept[chosen] = vector[chosen]
    return kept


class TwoPhase:
    """Nodes with residuals, and owners with residuals."""

    def __init__(self, nodes, sizes, fraction):
        self.nodes, self.fraction = nodes, fraction
        owners = np.array([owner_of(i, sizes, nodes) for i in range(sum(sizes))])
        self.shards = [np.flatnonzero(owners == node) for node in range(nodes)]
        self.up = np.zeros((nodes, sum(sizes)), np.float32)
        self.down = np.zeros(sum(sizes), np.float32)

    def mean(self, vectors):
        """Return what all nodes step along."""
        out = np.zeros(vectors.shape[1], np.float32)
        for shard in self.shards:
            count = max(1, round(self.fraction * len(shard)))
            total = np.zeros(len(shard), np.float32)
            for node in range(self.nodes):
                whole = vectors[node][shard] + self.up[node][shard]
                sent = keep_largest(whole, count)
                self.up[node][shard] = whole - sent
                total += sent
            whole = total / np.float32(self.nodes) + self.down[shard]
            out[shard] = keep_largest(whole, count)
            self.down[shard] = whole - out[shard]
        return out
