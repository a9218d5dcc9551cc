"""The shortest form of messages that are not written: counted as pieces pass, equal to what is written."""

from __future__ import annotations

import json

import gradient_strategies as gradients
import naive
import naive_theory
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qsgd_lab as ql
from qsgd_lab.coding.class_counts import quantized_size
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.layout_choice import COUNTED
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.message_costs import length_steps, message_costs
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.kernels.cpu.messages import message_cost as message_cost_cpu
from qsgd_lab.ledger import Ledger
from qsgd_lab.partition import partition
from qsgd_lab.stream import Stream

NORM_BITS = 32


def spelt_bits(levels, num_levels):
    """Return the bits of levels in each form, chunk by chunk, from words spelt out; norms left out."""
    chunks = [levels[start : start + 4096] for start in range(0, len(levels), 4096)]
    sizes = {"fixed": len(levels) * (1 + num_levels.bit_length())}
    for code, word in naive_theory.WORDS.items():
        sizes["dense", code] = sum(len(word(abs(q) + 1)) + (q != 0) for q in levels)
        sizes["sparse", code] = 0
        for chunk in chunks:
            previous = -1
            for place, q in enumerate(chunk):
                if q:
                    sizes["sparse", code] += len(word(place - previous)) + 1 + len(word(abs(q)))
                    previous = place
    return sizes


def counted(compressor, rows, tensor_sizes=None):
    """Return the tally of one step of several nodes by the fused pass."""
    rows = np.asarray(rows, np.float32)
    states, tally = compressor.init_nodes(len(rows), Layout.of(rows.shape[1], tensor_sizes)), Ledger()
    compressor.mean(NodeRows(rows), states, Stream(seed=5), np.zeros(rows.shape[1], np.float32), tally)
    return tally


def quantized(compressor, row, node, tensor_sizes=None):
    """Return what the fused pass quantizes of one node."""
    state = compressor.init(Layout.of(row.size, tensor_sizes))
    return compressor.compress(row, state, Stream(seed=5, node=node))[0]


def mark(levels, mask):
    """Mark a chunk's levels in a mask."""
    magnitudes = np.full(levels.size + 64, 77, np.uint8)  # what follows them does not belong to the chunk
    magnitudes[: levels.size] = np.abs(levels.astype(np.int32))
    assert message_cost_cpu.mark_nonzeros(magnitudes, 0, levels.size, 0, mask) == np.count_nonzero(levels)


def test_what_is_counted_is_what_is_sent_by_default():
    """The kernel counts chunks of the default size, and numbers layouts and codes as the tables do."""
    assert message_cost_cpu.CHUNK_SIZE == DEFAULT_CHUNK_SIZE
    assert len(COUNTED) == message_cost_cpu.NUM_CHOICES
    assert [code for layout, code in COUNTED if layout == "dense"] == list(LENGTHS)


@pytest.mark.parametrize("code", LENGTHS)
def test_steps_add_up_to_lengths(code):
    """The length of the codeword of k is the sum of the steps up to floor(log2 k)."""
    steps = length_steps()[list(LENGTHS).index(code)]
    for k in (1, 2, 3, 4, 15, 16, 4095, 4096, 32768):
        assert steps[: k.bit_length()].sum() == LENGTHS[code](k)


@given(st.integers(0, 4096), st.integers(0, 2**32), st.sampled_from([0.0, 0.0005, 0.01, 0.2, 0.9, 1.0]))
def test_distances_are_counted_without_walking(size, seed, density):
    """Counts of distances of at least 2^j are those of the list of distances, whatever the density."""
    ones = np.random.default_rng(seed).random(size) < density
    places = np.flatnonzero(ones)
    distances = np.diff(np.concatenate([[-1], places]))
    mask = np.zeros(65, np.uint64)
    mark(ones, mask)
    covered, wider = np.zeros((2, message_cost_cpu.LEAD + 64), np.uint64)
    gaps = np.full(13, -7)

    message_cost_cpu.count_gaps(mask, covered, wider, gaps)

    assert gaps.tolist() == [int((distances >= 2**j).sum()) for j in range(13)]


@pytest.mark.parametrize("place", [0, 1, 62, 63, 64, 2047, 2048, 4094, 4095])
def test_a_single_one_is_as_far_as_its_place(place):
    """A lone level at place p of a chunk has distance p + 1, the last of a chunk 4096."""
    levels, mask = np.zeros(4096, np.int32), np.zeros(65, np.uint64)
    levels[place] = -3
    mark(levels, mask)
    covered, wider = np.zeros((2, message_cost_cpu.LEAD + 64), np.uint64)
    gaps = np.zeros(13, np.int64)

    message_cost_cpu.count_gaps(mask, covered, wider, gaps)

    assert gaps.tolist() == [1] * (place + 1).bit_length() + [0] * (13 - (place + 1).bit_length())


@settings(max_examples=150)
@given(
    st.data(),
    gradients.gradients(),
    gradients.bucket_sizes,
    gradients.norms,
    gradients.level_counts,
    st.integers(1, 3),
)
def test_the_shortest_form_is_counted_as_it_is_spelt(data, x, bucket_size, norm, levels, nodes):
    """For every node the least of seven forms is taken, and "message" is the shortest whole message."""
    sizes = data.draw(gradients.tensor_sizes(x.size))
    compressor = QSGD(levels=levels, norm=norm, bucket_size=bucket_size)
    rows = [x * np.float32(0.5**node) for node in range(nodes)]
    sent = [quantized(compressor, row, node, sizes) for node, row in enumerate(rows)]

    tally = counted(compressor, rows, sizes)

    norm_bits = NORM_BITS * sum(q.norms.size for q in sent)
    spelt = [min(spelt_bits(q.levels.tolist(), levels).values()) for q in sent]
    assert tally.bits.get("auto", 0) == (sum(spelt) + norm_bits if x.size else 0)  # nothing is not sent
    assert tally.bits.get("message", 0) == 8 * sum(len(ql.encode(q)) for q in sent if len(q))
    assert tally.covered.get("message", 0) == tally.coordinates == nodes * x.size


@pytest.mark.parametrize("scale", [0.02, 1.0, 30.0])
@pytest.mark.parametrize("bits", [1, 3, 7, 8])
def test_long_gradients_are_counted_across_chunks_and_tensors(bits, scale):
    """Over many chunks that no tensor's end respects, counts equal the lengths of messages, in every form."""
    rng = np.random.default_rng(bits)
    tensor_sizes = (5000, 1, 0, 12_345, 3000)
    rows = (rng.standard_normal((2, sum(tensor_sizes))) * rng.exponential(scale, 20_346)).astype(np.float32)
    compressor = QSGD(bits=bits, bucket_size=512)
    sent = [quantized(compressor, row, node, tensor_sizes) for node, row in enumerate(rows)]

    tally = counted(compressor, rows, tensor_sizes)

    assert tally.bits["message"] == 8 * sum(min(ql.message_sizes(q).values()) for q in sent)
    spelt = [min(spelt_bits(q.levels.tolist(), q.num_levels).values()) for q in sent]
    assert tally.bits["auto"] == sum(spelt) + NORM_BITS * sum(q.norms.size for q in sent)


@given(gradients.gradients(), gradients.bucket_sizes, st.sampled_from([1, 2, 7, 127, 128, 255]))
def test_a_message_that_exists_counts_like_one_that_does_not(x, bucket_size, levels):
    """Counting a quantized gradient and counting in the fused pass are the same."""
    compressor, apart = QSGD(levels=levels, bucket_size=bucket_size), Ledger()
    apart.add(compressor.wire.size(quantized(compressor, x, 0)))

    assert apart.to_dict() == counted(compressor, [x]).to_dict()


def test_with_residuals_the_corrected_gradient_is_counted():
    """Under error feedback the counts are those of gradient + residual, which is what is sent."""
    rng = np.random.default_rng(0)
    gradient, residual = rng.standard_normal((2, 3, 9000)).astype(np.float32)
    compressor, tally = QSGD(bits=2), Ledger()
    state = compressor.init_nodes(3, Layout.of(9000))
    mean = np.zeros(9000, np.float32)

    compressor.mean(NodeRows(gradient, residual.copy()), state, Stream(seed=5), mean, tally)

    assert tally.to_dict() == counted(compressor, gradient + residual).to_dict()


def test_keys_are_ordered_by_what_they_hold():
    """The shortest form is never above another, and "message" adds exactly what is around it."""
    x = np.random.default_rng(0).standard_normal((1, 40_000)) ** 5
    tally = counted(QSGD(bits=2), x)
    bits = tally.bits_per_coordinate()

    assert list(bits) == ["fixed", "gamma", "delta", "omega", "auto", "message"]
    assert bits["auto"] < min(bits[code] for code in ("fixed", "gamma", "delta", "omega"))
    q = quantized(QSGD(bits=2), x[0].astype(np.float32), 0)
    sizes = ql.encode(q).sizes
    overhead = 8 * (sizes.header + sizes.lists + sizes.directory)
    assert 0 <= tally.bits["message"] - tally.bits["auto"] - overhead < 32 * 10  # padding of ten chunks


def test_without_costs_there_is_no_shortest_form():
    """A ledger of which some messages were not measured says nothing of the shortest ones."""
    tally = counted(QSGD(bits=2), np.ones((1, 100)))
    assert "auto" in tally.bits_per_coordinate()
    tally.add(quantized_size(3, 1, np.array([10, 0], np.int64)))
    assert not {"auto", "message"} & set(tally.bits_per_coordinate())


def test_costs_survive_json():
    """Costs are written and read with the ledger."""
    tally = counted(QSGD(bits=2), np.ones((2, 5000)))
    written = json.loads(json.dumps(tally.to_dict()))
    assert Ledger.from_dict(written).bits_per_coordinate() == tally.bits_per_coordinate()


def test_empty_gradients_cost_their_containers():
    """A message of no coordinates has no bits to say, and is as long as its header and lists."""
    parts = partition(0)
    nothing = np.zeros((1, len(COUNTED)), np.int64)
    empty = ql.quantize(np.zeros(0, np.float32), bits=2)

    assert message_costs(parts, 3, nothing, nothing) == (0, 8 * len(ql.encode(empty)))


@given(gradients.gradients(), st.integers(1, 8))
def test_dense_counts_stay_what_they_were(x, bits):
    """Counting the sparse forms beside the dense ones leaves these as they are written."""
    tally = counted(QSGD(bits=bits), [x])
    q = quantized(QSGD(bits=bits), x, 0)

    for code in LENGTHS:
        written = len(naive.dense_message(q.levels.tolist(), q.norms.size, code))
        assert tally.bits.get(code, 0) == (written if x.size else 0)
