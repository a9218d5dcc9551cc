"""Exact costs of messages that are not written, each under its best layout and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES
from qsgd_lab.coding.index import WORD_BYTES, index_bytes
from qsgd_lab.coding.layout_choice import CHOICES, COUNTED
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, WORD_BITS, fixed_width
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.partition import Partition

_LENGTH_CLASSES = 16  # floor(log2 k) of what is coded: levels up to 2^15, distances up to 2^12


class MessageCosts(NamedTuple):
    """The cost of several messages, each in its shortest form.

    Attributes
    ----------
    shortest_bits : int
        Of codewords, or levels at fixed width, and norms: what must be said, and nothing around it. The least
        of dense and sparse gamma, delta and omega and fixed width, message by message.
    message_bits : int
        Of the messages that `qsgd_lab.encode` would return for them: header, tensor sizes, norms, directory,
        checksums and padding included. The least is taken of whole messages.
    """

    shortest_bits: int
    message_bits: int


@lru_cache(maxsize=1)
def length_steps() -> NDArray[np.int64]:
    """Return int64[3, 16]: by how much the codeword of 2^j is longer than that of 2^(j - 1), by code.

    A sum of lengths is the sum over j of these, times how many numbers are at least 2^j.
    """
    lengths = [[length(2**j) for j in range(_LENGTH_CLASSES)] for length in LENGTHS.values()]
    steps = np.array(lengths, np.int64)
    steps[:, 1:] -= steps[:, :-1].copy()  # a copy, since the difference is taken in place
    return steps


@lru_cache(maxsize=64)
def _around_bytes(lists: int, norms: int, chunks: int) -> NDArray[np.int64]:
    """Return what a message has beside its payload, in bytes, by `CHOICES`."""
    sizes = [HEADER_BYTES + index_bytes(lists, norms, chunks, layout) + TAIL_BYTES for layout, _ in CHOICES]
    return np.array(sizes, np.int64)


@lru_cache(maxsize=64)
def _fixed_cost(size: int, num_levels: int) -> tuple[int, int]:
    """Return the bits and the 32-bit words of levels at fixed width."""
    width, words = fixed_width(num_levels), 0
    for count in (size % DEFAULT_CHUNK_SIZE, DEFAULT_CHUNK_SIZE):  # the last chunk, and the whole ones
        chunks = size // DEFAULT_CHUNK_SIZE if count == DEFAULT_CHUNK_SIZE else 1
        words += chunks * -(-count * width // WORD_BITS)
    return size * width, words


def length_fields(field: int) -> NDArray[np.uint64]:
    """Return uint64[16]: entry j holds the lengths of the codeword of 2^j, by code, `field` bits each."""
    lengths = np.cumsum(length_steps(), axis=1).astype(np.uint64)  # side by side, so that a kernel adds once
    shifts = (field * np.arange(len(LENGTHS))).astype(np.uint64)
    fields: NDArray[np.uint64] = (lengths << shifts[:, None]).sum(axis=0, dtype=np.uint64)
    return fields


def uncounted_costs(
    parts: Partition, num_levels: int, num_dimensions: int = 1
) -> tuple[int, int, NDArray[np.int64]]:
    """Return what of a message's cost does not depend on its levels.

    Returns
    -------
    fixed_bits, fixed_bytes : int
        At fixed width: the bits of levels, and the bytes of the whole message.
    around : int64, shape (6,)
        Bytes beside the payload, by `COUNTED`.
    """
    size = parts.num_coordinates
    fixed_bits, fixed_words = _fixed_cost(size, num_levels)
    chunks = -(-size // DEFAULT_CHUNK_SIZE)
    around = _around_bytes(len(parts.tensor_sizes) + num_dimensions, parts.num_buckets, chunks)
    return fixed_bits, int(WORD_BYTES * fixed_words + around[-1]), around[:-1]


def message_costs(
    parts: Partition,
    num_levels: int,
    bits: NDArray[np.int64],
    words: NDArray[np.int64],
    num_dimensions: int = 1,
) -> MessageCosts:
    """Return the cost of N messages of gradients of one partition.

    Parameters
    ----------
    parts : Partition
    num_levels : int
        s.
    bits, words : int64, shape (N, 6)
        Of levels, norms left out, by `COUNTED`: all codewords, and chunks rounded up to 32-bit words.
    num_dimensions : int
        Of the gradients' shape.
    """
    size = parts.num_coordinates
    fixed_bits, fixed_words = _fixed_cost(size, num_levels)
    # Two questions, which may choose different forms: the fewest bits, and the shortest whole message.
    shortest = np.minimum(bits.min(axis=1), fixed_bits)
    chunks = -(-size // DEFAULT_CHUNK_SIZE)
    around = _around_bytes(len(parts.tensor_sizes) + num_dimensions, parts.num_buckets, chunks)
    counted = (WORD_BYTES * words + around[:-1]).min(axis=1)
    whole = np.minimum(counted, WORD_BYTES * fixed_words + around[-1])
    norm_bits = len(bits) * parts.num_buckets * FLOAT_BITS
    return MessageCosts(int(shortest.sum()) + norm_bits, 8 * int(whole.sum()))


def costs_by_chunk(
    parts: Partition,
    num_levels: int,
    chunk_bits: Mapping[tuple[str, str], NDArray[Any]],
    num_dimensions: int = 1,
) -> MessageCosts:
    """Return the cost of one message whose chunks of 4096 take `chunk_bits` (int64[C]) by (layout, code)."""
    by_choice: Sequence[NDArray[np.int64]] = [chunk_bits[choice] for choice in COUNTED]
    bits = np.array([[chunks.sum() for chunks in by_choice]], np.int64)
    words = np.array([[(-(-chunks // WORD_BITS)).sum() for chunks in by_choice]], np.int64)
    return message_costs(parts, num_levels, bits, words, num_dimensions)
