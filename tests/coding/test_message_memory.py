"""What coding allocates: nothing larger than the gradient; a decoder takes its output and little more.

Arrays are counted as they are made; the kernels' own scratch, a few thousand bytes a thread, is not among
them.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.partition import Partition, _partition

SIZE = 2**18
FORMS = [("auto", "fixed")] + [(code, layout) for layout in ("dense", "sparse") for code in LENGTHS]
SCRATCH = 2**16  # bytes a thread may take for levels in passing, and Python for its objects


@pytest.fixture(scope="module")
def gradient():
    """Return a gaussian gradient of one megabyte."""
    return np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)


def peak_of(function):
    """Return (result, largest number of bytes allocated at once) of a call that was made before."""
    function()  # compiles, and fills tables that stay
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def index_memory(message):
    """Return what norms and directory take in memory: as sent, as arrays, and where chunks begin."""
    sizes = message.sizes
    return 3 * (sizes.norms + sizes.directory + sizes.lists) + 16 * -(-SIZE // 4096)


@pytest.mark.parametrize("levels", [7, 127, 32767])
def test_quantizing_takes_its_result(gradient, levels):
    """Levels and norms, and nothing of their size beside them."""
    quantized, peak = peak_of(lambda: ql.quantize(gradient, levels=levels))

    assert peak <= quantized.levels.nbytes + quantized.norms.nbytes + SCRATCH


@pytest.mark.parametrize(("code", "layout"), FORMS)
@pytest.mark.parametrize("levels", [1, 127, 32767])
def test_encoding_reserves_no_more_than_the_gradient(gradient, levels, code, layout):
    """Memory for the longest possible codewords is reserved, which never exceeds the gradient's own bytes."""
    quantized = ql.quantize(gradient, levels=levels)
    for threads in (1, 4):
        message, peak = peak_of(lambda t=threads: ql.encode(quantized, code, layout, threads=t))

        assert len(message) <= peak <= 1.01 * gradient.nbytes + index_memory(message) + SCRATCH


@pytest.mark.parametrize(("code", "layout"), [("auto", "fixed"), ("omega", "dense"), ("gamma", "sparse")])
def test_a_message_keeps_its_own_bytes_alone(gradient, code, layout):
    """What was reserved beyond the message is given back before it is returned, and all of it at its end."""
    quantized = ql.quantize(gradient, levels=7)
    ql.encode(quantized, code, layout, threads=2)  # compiles, and fills tables that stay
    tracemalloc.start()
    try:
        message = ql.encode(quantized, code, layout, threads=2)
        kept = tracemalloc.get_traced_memory()[0]
        assert len(message) <= kept <= len(message) + SCRATCH
        del message
        assert tracemalloc.get_traced_memory()[0] <= SCRATCH
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [1, 127])
def test_one_pass_makes_no_array_of_levels(gradient, levels):
    """From gradient to fixed width, memory is the message, its index and a few chunks a thread."""
    for threads in (1, 4):
        message, peak = peak_of(
            lambda t=threads: ql.quantize_and_encode(gradient, levels=levels, layout="fixed", threads=t)
        )

        # The lists of the index are there twice while the message is put together.
        assert peak <= len(message) + index_memory(message) + 2 * SCRATCH * threads
        assert peak < len(message) + SIZE or threads > 1


@pytest.mark.parametrize(("code", "layout"), FORMS)
def test_decoding_takes_its_output(gradient, code, layout):
    """Levels take a byte each and values four; beside them there is only the index, and scratch a thread."""
    message = ql.encode(ql.quantize(gradient, levels=127), code, layout)
    for threads in (1, 4):
        rest = index_memory(message) + SCRATCH * threads

        assert peak_of(lambda t=threads: ql.decode(message, threads=t))[1] <= SIZE + rest
        assert peak_of(lambda t=threads: ql.decode_values(message, threads=t))[1] <= 4 * SIZE + rest


def test_adding_takes_nothing_of_the_gradients_size(gradient):
    """The sum of many messages is made in place, whatever their number."""
    messages = [ql.encode(ql.quantize(gradient, bits=3, node=node)) for node in range(6)]
    total = np.zeros(SIZE, np.float32)

    _, peak = peak_of(lambda: ql.add_decoded(messages, total))

    assert peak <= index_memory(messages[0]) + SCRATCH


def test_large_partitions_of_messages_are_not_kept():
    """The cache of partitions keeps those of few tensors only, since messages come from anywhere."""
    _partition.cache_clear()
    sizes = (1,) * 1100
    quantized = ql.QuantizedGradient(
        np.zeros(1100, np.int8), np.ones(1, np.float32), 1, "l2", Partition(sizes, "model"), (1100,)
    )

    assert ql.decode(ql.encode(quantized, version=1)).partition == Partition(sizes, "model")
    assert _partition.cache_info().currsize == 0
