"""Layout `ranged`: what the page says, written and read by a slow program too; near the entropy; safe."""

from __future__ import annotations

import random
from itertools import pairwise

import naive_ranged
import naive_wire2
import numpy as np
import pytest
import wire2_contents

import qsgd_lab as ql
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.arguments import RangedFormat
from qsgd_lab.kernels.cpu.messages.ranged import decode_symbols, encode_symbols
from qsgd_lab.kernels.cpu.messages.ranged_turns import HAS_VECTORS
from qsgd_lab.kernels.cpu.messages.ranged_vector import (
    decode_four,
    decode_vectors,
    encode_four,
    encode_vectors,
)
from qsgd_lab.partition import Partition
from qsgd_lab.wire import checksum, ranged, ranged_choice
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.message import pack, unpack
from qsgd_lab.wire.structure import Structure

SEEDS = range(24)


def some_levels(seed):
    """Return random levels of the layout ranged under tables that need not fit them."""
    rng = random.Random(seed)
    while True:
        found = wire2_contents.some_levels(rng, Structure.flat(rng.randrange(1500)))
        if found.layout == "ranged":
            return found


def mixture(n, s, seed=0):
    """Return quantized levels whose law changes from bucket to bucket."""
    rng = np.random.default_rng(seed)
    scale = np.repeat(np.exp(1.5 * rng.standard_normal(-(-n // 64))), 64)[:n]
    return ql.quantize((rng.standard_normal(n) * scale).astype(np.float32), levels=s)


def entropy_bits(levels):
    """Return the order-0 entropy of all levels, in bits."""
    counts = np.unique(levels, return_counts=True)[1]
    return float((counts * np.log2(levels.size / counts)).sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_are_those_of_a_slow_program(seed):
    """A program made from the page alone reads the message and writes the same chunks."""
    payload = some_levels(seed)
    levels, code, s = payload.levels.tolist(), payload.code, payload.num_levels

    assert naive_wire2.decode(bytes(pack(payload)))["levels"] == levels
    tables = [(int(k), row.tolist()) for k, row in zip(code.shifts, code.frequencies, strict=True)]
    written, block = b"", 0
    for low, high in pairwise([*range(0, len(levels), 1 << code.chunk_bits), len(levels)]):
        blocks = -(-naive_ranged.symbol_count(high - low, s, code.num_states) // 512)
        kinds = code.classes[block : block + blocks].tolist()
        written += naive_ranged.encode_chunk(levels[low:high], s, code.num_states, tables, kinds)
        block += blocks
    assert written == b"".join(payload.coded[2])


def test_changed_chunks_are_refused_or_are_what_a_writer_writes(monkeypatch):
    """Without checksums, whatever is read of a changed chunk is written again in the same bytes."""

    def seal(message, start):
        honest(message, start)
        message[32:40] = 0

    honest = checksum.seal
    monkeypatch.setattr(checksum, "front_and_payload_check", lambda *_: (0, 0))
    monkeypatch.setattr(checksum, "seal", seal)
    outcomes = []
    for seed in SEEDS:
        rng, payload = random.Random(seed), some_levels(seed)
        message = bytes(pack(payload))
        begin = len(message) - 32 - sum(map(len, payload.coded[2])) - payload.code.side_bytes
        for _ in range(40):
            changed = bytearray(message)
            changed[rng.randrange(max(begin, 48), len(message))] ^= 1 << rng.randrange(8)
            try:
                received = unpack(bytes(changed))
            except MessageError:
                outcomes.append(False)
                continue
            assert bytes(pack(received)) == bytes(changed)
            outcomes.append(True)
    assert 0 < sum(outcomes) < len(outcomes) / 2


@pytest.mark.parametrize(("s", "over"), [(1, 0.045), (7, 0.02), (127, 0.01), (255, 0.02)])
def test_length_is_near_the_entropy(s, over):
    """With sixteen states a message takes little more than the entropy of its levels."""
    rng = np.random.default_rng(1)
    quantized = ql.quantize(rng.standard_normal(1 << 18).astype(np.float32), levels=s)

    message = ql.encode(quantized, layout="ranged", effort=0)

    bits = 8 * (len(message) - quantized.norms.nbytes)
    assert bits <= (1 + over) * entropy_bits(quantized.levels)


def test_classes_pay_where_buckets_differ():
    """On a mixture of laws eight tables are shorter than one, and than the entropy of all levels."""
    quantized = mixture(1 << 18, 127)
    one, eight = (Levels.of(quantized, "ranged", effort) for effort in (0, 2))

    assert (len(one.code.shifts), len(eight.code.shifts)) == (1, 8)
    assert len(pack(eight)) < len(pack(one))
    assert 8 * (len(pack(eight)) - quantized.norms.nbytes) < entropy_bits(quantized.levels)


@pytest.mark.parametrize("s", [1, 7, 127])
def test_length_is_estimated(s):
    """The estimate without coding is within some bytes a chunk of the length."""
    quantized = mixture((1 << 17) + 5, s)
    payload = Levels.of(quantized, "ranged")
    code, lengths, parts = payload.coded

    estimate = ranged_choice.estimated_bytes(code, quantized.levels, s)

    assert abs(estimate - sum(map(len, parts)) - 2 * lengths.size - code.side_bytes) <= 12 * lengths.size


@pytest.mark.parametrize(("s", "effort"), [(1, 0), (7, 1), (127, 2), (1000, 1)])
def test_threads_change_nothing(s, effort):
    """Message and levels, and which chunk of a damaged message is named, are those of one thread."""
    quantized = mixture((1 << 19) + 5, s)
    message = ql.encode(quantized, layout="ranged", effort=effort)
    payload = unpack(message)
    damaged = message.copy()
    begin = len(message) - 32 - sum(map(len, payload.coded[2]))
    damaged[begin + len(message) // 2 :: 4099] ^= 255
    checksum.seal(damaged, begin)

    with pytest.raises(MessageError) as one:
        ql.decode(damaged)
    for threads in (2, 3, 7):
        coded = ql.encode(quantized, layout="ranged", effort=effort, threads=threads)
        assert np.array_equal(coded, message)
        assert np.array_equal(ql.decode(message, threads=threads).levels, quantized.levels)
        with pytest.raises(MessageError) as several:
            ql.decode(damaged, threads=threads)
        assert str(several.value) == str(one.value)


@pytest.mark.parametrize("s", [1, 7, 127, 1000])
def test_a_range_is_a_slice(s):
    """A range of coordinates is decoded from the chunks that hold it alone."""
    quantized = mixture(40000, s)
    message = ql.encode(quantized, layout="ranged")

    for low, high in [(0, 40000), (0, 1), (16383, 16385), (39999, 40000), (5, 5), (12345, 31000)]:
        assert np.array_equal(ql.decode(message, low, high).levels, quantized.levels[low:high])


@pytest.mark.parametrize("s", [1, 7, 127, 32767])
def test_levels_that_no_table_knows_are_exceptions(s):
    """A level that the writer's sample did not see comes back, at every s."""
    levels = np.zeros(1 << 17, np.int8 if s <= 127 else np.int16)
    levels[[700, 70000, -1]] = s, -s, s
    parts = Partition((levels.size,), "model")
    quantized = Levels(levels, np.ones(1, np.float32), s, "max", parts, levels.shape)

    for effort in (0, 1, 2):
        message = pack(Levels.of(quantized, "ranged", effort))
        assert np.array_equal(unpack(message).levels, levels)


@pytest.mark.parametrize("weights", [[5, 3, 1, 0], [1e6, 10, 1, 0], [0, 0], [0, 5], [1] * 256])
def test_frequencies_fill_the_table(weights):
    """Frequencies are at least 1, sum to 4096, and follow the weights' order."""
    found = ranged_choice.whole_frequencies(np.array(weights, float))

    assert found.sum() == 4096
    assert found.min() >= 1
    order = np.argsort(weights, kind="stable")
    assert (np.diff(found[order]) >= -1).all()  # equal weights may differ by what rounding left


def test_what_cannot_be_written_is_refused():
    """Bad efforts, levels beyond s and codes that do not fit are named."""
    quantized = ql.quantize(np.ones(10, np.float32), bits=2)
    with pytest.raises(ValueError, match="effort is 3; it must be 0, 1 or 2"):
        ql.encode(quantized, layout="ranged", effort=3)
    code = Levels.of(quantized, "ranged").code
    longer = ql.quantize(np.ones(5000, np.float32), bits=2)
    own = (longer.levels, longer.norms, 3, "l2", longer.partition, longer.shape, "ranged", code)
    with pytest.raises(ValueError, match="classes"):
        pack(Levels(*own))
    with pytest.raises(ValueError, match=r"a level is outside -2\.\.2"):
        pack(Levels(np.int8([3]), np.ones(1, np.float32), 2, "l2", Partition((1,), 512), (1,), "ranged"))


@pytest.mark.skipif(not HAS_VECTORS, reason="the processor has no vectors for it")
@pytest.mark.parametrize("changed", [None, 0, 7, 100, 1000, 1500])
def test_all_forms_of_the_loop_read_alike(changed):
    """One chunk in vectors, four in turn and the scalar loop give the same verdicts, and bytes where good."""
    words, ends, states, tables, symbols = four_chunks()
    if changed is not None:
        words[changed] ^= 1 << 3
    classes, flat = np.zeros(16, np.uint8), tables.slots
    found, positions, rows = np.empty((3, 4, 2048), np.uint8), ends[:4].copy(), states.copy()

    decode_four(words, positions, ends[1:], classes, flat, rows, found[0].reshape(-1), 2048)

    for i in range(4):
        arguments, others = (words, ends[i], ends[i + 1], classes[:4]), states.reshape(4, 16)[i].copy()
        scalar = states.reshape(4, 16)[i].copy()
        vector = decode_vectors(*arguments, flat, others, found[1, i])
        position = decode_symbols(*arguments, tables.slots, scalar, found[2, i])
        where, kept = [positions[i], vector, position], [rows.reshape(4, 16)[i], others, scalar]
        if position > ends[i + 1]:  # beyond a chunk's end each reads what it likes
            assert min(where) > ends[i + 1]
            continue
        assert where == [position] * 3
        assert all((row == scalar).all() for row in kept)
        assert (found[:2, i] == found[2, i]).all()
        if changed is None:
            assert position == ends[i + 1]
            assert (scalar == 1 << 16).all()
            known = tables.frequencies[0, symbols[i]] > 0
            assert (found[2, i] == np.where(known, symbols[i], 0x80)).all()


def four_chunks():
    """Return (words, where they begin and end, states, tables, symbols) of four chunks, coded one by one."""
    rng = np.random.default_rng(5)
    quantized = ql.quantize(rng.standard_normal(4 * 2048).astype(np.float32), levels=127)
    code = Levels.of(quantized, "ranged", 0).code
    tables = ranged.kernel_tables(code.shifts, code.frequencies, RangedFormat(127, 8, 12, 16))
    parts, rows = [], np.empty((4, 16), np.uint32)
    symbols = quantized.levels.reshape(4, 2048).view(np.uint8)
    for part, row in zip(symbols, rows, strict=True):
        words, own = np.empty(2064, np.uint16), (np.zeros(4, np.uint8), tables.entries, tables.reciprocals)
        first = encode_symbols(part, *own, row, words, np.empty(4, np.uint8))
        parts.append(words[first:])
    ends = np.cumsum([0, *(words.size for words in parts)])
    return np.concatenate([*parts, np.zeros(16, np.uint16)]), ends, rows.reshape(-1), tables, symbols


@pytest.mark.skipif(not HAS_VECTORS, reason="the processor has no vectors for it")
def test_all_forms_of_the_loop_write_alike():
    """One chunk in vectors and four in turn write the words, states and marks of the scalar loop."""
    words, ends, states, tables, symbols = four_chunks()
    classes, flat = np.zeros(16, np.uint8), tables.entries
    rows, space, flags = np.empty(64, np.uint32), np.empty(4 * 2064, np.uint16), np.empty(16, np.uint8)
    positions = np.empty(4, np.int64)

    encode_four(symbols.reshape(-1), 2048, classes, flat, rows, space, positions, flags)

    assert (rows == states).all()
    for i in range(4):
        coded = words[ends[i] : ends[i + 1]]
        assert np.array_equal(space[positions[i] : (i + 1) * 2064], coded)
        row, own, marks = np.empty(16, np.uint32), np.empty(2064, np.uint16), np.empty(4, np.uint8)
        first = encode_vectors(symbols[i], classes[:4], flat, row, own, marks)
        assert np.array_equal(own[first:], coded)
        assert (row == states.reshape(4, 16)[i]).all()
        known = tables.frequencies[0, symbols[i]].reshape(4, 512) > 0
        assert (marks == ~known.all(axis=1)).all()
        assert (flags[4 * i : 4 * i + 4] == marks).all()


def test_quotients_are_exact():
    """A float32 reciprocal gives the quotient or one less, at the states where it could err."""
    frequencies = np.arange(1, 4096)
    reciprocals = ranged.float_reciprocals(frequencies)[:, None]
    for quotient in (1, 2, 1023, 65535, 2**19, 2**20 - 1):
        last = quotient * frequencies[:, None]
        for x in (last - 1, last, last + frequencies[:, None] - 1):
            estimate = (x.astype(np.uint32).astype(np.float32) * reciprocals).astype(np.int64)
            assert np.isin(x // frequencies[:, None] - estimate, (0, 1)).all()
