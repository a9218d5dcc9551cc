"""The end of a sum: the last message, the division and the look for infinities in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab import encode, quantize
from qsgd_lab.coding.decode_sum import add_decoded
from qsgd_lab.coding.mean import divide_sum, end_mean
from qsgd_lab.errors import MessageError

N = 40_000  # more than one group of chunks, the last one short


def message_of(seed, layout="fixed"):
    """Return a message of N coordinates."""
    vector = np.random.default_rng(seed).normal(size=N).astype(np.float32)
    return encode(quantize(vector, bits=2, norm="max"), layout=layout)


def total_with(position, value):
    """Return a sum with one value set."""
    total = np.random.default_rng(7).normal(size=N).astype(np.float32)
    total[position] = value
    return total


@pytest.mark.parametrize("nodes", [1, 2, 3, 8, 10])
@pytest.mark.parametrize("layout", ["fixed", "dense"])
def test_one_pass_is_all_of_its_steps(nodes, layout):
    """Added, divided: the bits of separate passes, whether the number of nodes is a power of 2 or not."""
    message, total = message_of(nodes, layout), total_with(0, 1e-44)
    expected = total.copy()
    add_decoded([message], expected)
    expected /= np.float32(nodes)
    assert end_mean(message, (N,), total, nodes)
    assert np.array_equal(total.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("position", [0, 17, N - 1])
@pytest.mark.parametrize("nodes", [2, 3])
def test_what_is_not_finite_is_found_anywhere(value, position, nodes):
    """In the first coordinate, in the last, and between; the largest finite number is none."""
    message = message_of(0)
    assert not end_mean(message, (N,), total_with(position, value), nodes)
    assert not divide_sum(total_with(position, value), nodes)
    assert divide_sum(total_with(position, np.finfo(np.float32).max), nodes)


def test_bad_messages_are_refused():
    """Damaged, of another number of coordinates, or of other tensors."""
    message, total = message_of(0), total_with(0, 0)
    damaged = bytearray(message)
    damaged[len(damaged) // 2] ^= 1
    for data, sizes, size in [(damaged, (N,), N), (message, (N,), N - 1), (message, (1, N - 1), N)]:
        with pytest.raises(MessageError):
            end_mean(bytes(data), sizes, total[:size], 2)
