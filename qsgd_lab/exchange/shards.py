"""Shards of a vector: which node adds up which coordinates when a sum is scattered over nodes."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from qsgd_lab.compressors.protocol import Array, Layout, zeros

#: Tensors are cut at multiples of so many coordinates, so that buckets of usual sizes stay whole.
BLOCK = 512


class Shard(NamedTuple):
    """The coordinates that one node owns: a piece of every tensor.

    Attributes
    ----------
    layout : Layout
        A flat piece of each tensor, in order; some may be empty.
    pieces : tuple of slice
        Where the pieces are in the whole vector; empty ones are left out.
    """

    layout: Layout
    pieces: tuple[slice, ...]

    def take(self, rows: Array) -> Array:
        """Return the shard's coordinates of the last axis, copied, float32."""
        taken = zeros((*rows.shape[:-1], self.layout.num_coordinates), rows)
        at = 0
        for piece in self.pieces:
            size = piece.stop - piece.start
            taken[..., at : at + size] = rows[..., piece]
            at += size
        return taken

    def put(self, values: Array, rows: Array) -> None:
        """Write the shard's values to their places in the last axis of `rows`."""
        at = 0
        for piece in self.pieces:
            size = piece.stop - piece.start
            rows[..., piece] = values[..., at : at + size]
            at += size


@lru_cache(maxsize=64)
def shards_of(layout: Layout, nodes: int, first_tensor: int = 0) -> tuple[Shard, ...]:
    """Return the shard of each node.

    Every tensor is cut into `nodes` pieces at multiples of `BLOCK`, as equal as that allows. Piece p of
    tensor t belongs to node (p + t) mod `nodes`, so that small tensors do not all have one owner. A shard of
    some tensors is thus the same, however tensors are grouped: buckets of DDP change no value.

    Parameters
    ----------
    layout : Layout
    nodes : int
        At least 1.
    first_tensor : int
        Number of the layout's first tensor in its model.
    """
    pieces: list[list[slice]] = [[] for _ in range(nodes)]
    start = 0
    for tensor, size in enumerate(layout.sizes, start=first_tensor):
        blocks = -(-size // BLOCK)
        edges = [min(start + BLOCK * (part * blocks // nodes), start + size) for part in range(nodes)]
        for part, (low, high) in enumerate(zip(edges, [*edges[1:], start + size], strict=True)):
            pieces[(part + tensor) % nodes].append(slice(low, high))
        start += size
    return tuple(
        Shard(
            Layout(tuple((piece.stop - piece.start,) for piece in own)),
            tuple(piece for piece in own if piece.stop > piece.start),
        )
        for own in pieces
    )
