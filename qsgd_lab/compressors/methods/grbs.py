"""GRBS: one random block of coordinates, the same at every node, so that values add up in the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.methods.rand_k import VALUES, VALUES_OPTION, check_choice
from qsgd_lab.compressors.protocol import Array, Layout, NodeRows, Stateless, Wire, divide, node_vector
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.key import SHARED_NODE, Key, Purpose, words
from qsgd_lab.wire.kinds.raw import Raw


@dataclass(frozen=True, eq=False)
class Block:
    """Adjacent coordinates of a vector.

    Attributes
    ----------
    values : float32, shape (k,)
    num_coordinates : int
        n, of the whole vector.
    key : Key
        Of the block's random word; its `first` is where the block begins.
    """

    values: NDArray[np.float32]
    num_coordinates: int
    key: Key


def block_of(key: Key, num_coordinates: int, blocks: int) -> tuple[int, int]:
    """Return (start, stop) of the block that a key draws, of R blocks, or of n where n < R.

    Coordinate i is in block floor(i R / n), so that sizes differ by at most one and no block is empty.
    """
    n, count = num_coordinates, min(blocks, num_coordinates)
    if count == 0:
        return 0, 0
    drawn = int(words(key._replace(first=0), Purpose.MASK, 1)[0]) * count >> 32
    return -(-drawn * n // count), -(-(drawn + 1) * n // count)


class BlockWire(Wire[Block]):
    """A shard of kind "raw" of wire format 2, whose key says where it begins.

    Parameters
    ----------
    blocks : int
    """

    kind = "raw"

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def size(self, payload: Block) -> Size:
        """Return "fixed", the values alone, and "message", the whole."""
        bits = message.size(Raw(payload.values), key=payload.key)
        return Size(payload.num_coordinates, {"fixed": FLOAT_BITS * payload.values.size, "message": bits})

    def pack(self, payload: Block) -> bytes:
        """Return the message."""
        return bytes(message.pack(Raw(payload.values), key=payload.key))

    def unpack(self, received: bytes, layout: Layout) -> Block:
        """Read a block, which must be the one that its key draws."""
        n = layout.num_coordinates
        content = message.open_content(received, max_coordinates=n, kinds=["raw"])
        values, key = content.payload.values, content.key
        if key is None or key.node != SHARED_NODE or values.dtype != np.float32 or values.ndim != 1:
            raise MessageError("the message is not a block that all nodes draw")
        start, stop = block_of(key, n, self.blocks)
        if (key.first, values.size) != (start, stop - start):
            raise MessageError(f"the message is not the block {start}..{stop - 1} that its key draws")
        return Block(values, n, key)


class RandomBlock(Stateless):
    """Sends one of R blocks of the whole gradient, drawn again each step and the same at all nodes.

    Parameters
    ----------
    ratio : int
        R, at least 1.
    values : {"plain", "unbiased"}
        As they are, or times R.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Xie, Zheng, Koyejo, Gupta, Li, Lin: CSER. NeurIPS 2020 (globally-randomized blockwise sparsifier).
    """

    aggregates = "sums"

    def __init__(self, ratio: int = 32, values: str = "plain") -> None:
        if ratio < 1:
            raise ValueError(f"ratio is {ratio}; there must be at least 1 block")
        check_choice("values", values, VALUES)
        self.ratio, self.values = ratio, values

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Block, Any]:
        """Return (the block of this step, state)."""
        key, start, stop = self._draw(stream, gradient.size)
        return Block(self._sent(gradient[start:stop], gradient.size), gradient.size, key), state

    def decompress(self, payload: Block) -> Array:
        """Return the vector with zeros elsewhere."""
        dense = np.zeros(payload.num_coordinates, np.float32)
        dense[payload.key.first : payload.key.first + payload.values.size] = payload.values
        return dense

    def mean(self, rows: NodeRows, states: Any, stream: Stream, out: Array, ledger: Ledger) -> Any:
        """Write the mean as `Compressor.mean` does; the block is drawn once, and no other coordinate read."""
        out[...] = 0
        n = rows.shape[1]
        key, first, last = self._draw(stream, n)
        for node in range(len(states)):
            vector = node_vector(rows, node)
            values = self._sent(vector[first:last], n)
            out[first:last] += values
            if rows.residuals is not None:
                vector[first:last] -= values
            ledger.add(self.wire.size(Block(values, n, key)))
        divide(out[first:last], len(states))
        return states

    def _draw(self, stream: Stream, num_coordinates: int) -> tuple[Key, int, int]:
        """Return the block of a step: its key, its first coordinate, and that after its last."""
        key = Key(stream.seed, SHARED_NODE, stream.step, stream.tensor)
        start, stop = block_of(key, num_coordinates, self.ratio)
        return key._replace(first=start), start, stop

    def _sent(self, block: NDArray[np.float32], num_coordinates: int) -> NDArray[np.float32]:
        """Return a copy of a block as it is sent."""
        values = block.copy()
        if self.values == "unbiased":
            with np.errstate(over="ignore"):
                values *= np.float32(min(self.ratio, num_coordinates))
        return values

    @property
    def wire(self) -> BlockWire:
        """A raw shard."""
        return BlockWire(self.ratio)

    @property
    def is_unbiased(self) -> bool:
        """True with unbiased values, or if there is one block."""
        return self.values == "unbiased" or self.ratio == 1

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - 1/R, or R - 1 for unbiased values; both are exact for every vector."""
        blocks = max(1, min(self.ratio, num_coordinates))
        return blocks - 1.0 if self.values == "unbiased" else 1 - 1 / blocks


def _label(options: Mapping[str, Any]) -> str:
    return f"GRBS 1/{options['ratio']}" + (", unbiased" if options["values"] == "unbiased" else "")


METHOD = Method(
    "grbs",
    RandomBlock,
    (
        Option("ratio", int, 32, "blocks R, of which one is sent"),
        Option("values", str, "plain", VALUES_OPTION.help.replace("n/k", "R"), VALUES),
    ),
    _label,
    summary="one random block, the same at all nodes: sums without indices",
    source="Xie et al., NeurIPS 2020",
    theory="qsgd_lab.theory.methods.grbs",
    settings=tuple(f"grbs(ratio={ratio})" for ratio in (1024, 256, 64, 32, 8, 2)),
)
