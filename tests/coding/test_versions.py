"""Both versions of the wire format behind the same functions."""

from __future__ import annotations

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.sparse import SparseValues
from qsgd_lab.wire.structure import Structure

GRADIENT = np.random.default_rng(0).standard_normal(10_001).astype(np.float32)
SIZES = (3000, 0, 7001)


def quantized(bits: int) -> ql.QuantizedGradient:
    """Return a gradient of two tensors and an empty one, with a zero bucket and a NaN."""
    gradient = GRADIENT.copy()
    gradient[:512] = 0
    gradient[9000] = np.nan
    return ql.quantize(gradient, bits=bits, tensor_sizes=SIZES, seed=1)


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8, 15])
@pytest.mark.parametrize("layout", ["fixed", "base3"])
def test_levels_come_back_from_either_version(bits, layout):
    """Levels, norms, partition and values are the same after version 1 and after version 2."""
    q = quantized(bits)
    if layout == "base3" and bits > 1:
        with pytest.raises(ValueError, match="base 3 is for s = 1"):
            ql.encode(q, layout=layout)
        return
    message = ql.encode(q, layout=layout, version=2)
    received, old = ql.decode(message), ql.decode(ql.encode(q))

    assert message.version == 2
    assert message.sizes.total == len(message) == ql.message_sizes(q, version=2)[layout, "none"]
    assert message.bits_per_coordinate == 8 * len(message) / 10_001
    assert received.levels.tobytes() == old.levels.tobytes()
    assert received.norms.tobytes() == old.norms.tobytes()
    assert (received.partition, received.shape, received.norm) == (old.partition, old.shape, old.norm)
    assert ql.decode_values(message).tobytes() == ql.dequantize(q).tobytes()


@pytest.mark.parametrize("layout", ["fixed", "base3"])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 10), (2999, 3001), (4095, 4097), (4096, 8192), (10_000, None), (-3, None)]
)
def test_ranges_are_read_from_either_version(layout, start, stop):
    """A range has the levels, norms and partition that version 1 gives for it."""
    q = quantized(1)
    new, old = (
        ql.decode(ql.encode(q, layout=layout, version=2), start, stop),
        ql.decode(ql.encode(q), start, stop),
    )

    assert new.levels.tolist() == old.levels.tolist()
    assert new.norms.tobytes() == old.norms.tobytes()
    assert new.partition == old.partition


def test_ranges_of_raw_values_and_of_nothing_else():
    """Raw values have ranges; a kind that has none says so."""
    assert ql.decode(ql.encode(Raw(GRADIENT)), 5, 9).values.tolist() == GRADIENT[5:9].tolist()
    with pytest.raises(ValueError, match="kind sparse cannot be decoded in part: decode all of it"):
        ql.decode(ql.encode(SparseValues(np.array([1]), GRADIENT[:1], 5)), 1, 2)


def test_sums_mix_versions_and_kinds():
    """Messages of both versions and of several kinds add up in order, as their values do."""
    q = quantized(3)
    kept = np.flatnonzero(np.abs(GRADIENT) > 1)
    messages = [
        ql.encode(q, code="omega"),
        ql.encode(q, version=2),
        ql.encode(Raw(GRADIENT)),
        ql.encode(SparseValues(kept, GRADIENT[kept], GRADIENT.size)),
    ]
    total, expected = np.ones(GRADIENT.size, np.float32), np.ones(GRADIENT.size, np.float32)
    ql.add_decoded(messages, total)
    for message in messages:
        expected += ql.decode_values(message, max_coordinates=GRADIENT.size)

    assert total.tobytes() == expected.tobytes()
    with pytest.raises(ql.MessageError, match="the message has 3 coordinates, the total 10001"):
        ql.add_decoded([ql.encode(Raw(GRADIENT[:3]))], total)
    with pytest.raises(ql.MessageError, match="kind raw was not allowed; allowed are levels"):
        ql.add_decoded([ql.encode(Raw(GRADIENT))], total, kinds=["levels"])
    with pytest.raises(ql.MessageError, match="kind levels was not allowed"):
        ql.add_decoded(messages[:1], total, kinds=["raw"])
    for read in (ql.decode, ql.decode_values):
        with pytest.raises(ql.MessageError, match="kind levels was not allowed"):
            read(messages[0], kinds=["raw"])


def test_the_version_follows_from_what_is_asked_for():
    """Version 1 is the default of levels; a payload, layout, key or structure of version 2 chooses it."""
    q = quantized(1)
    assert ql.encode(q).version == 1
    assert ql.encode(q, layout="base3").version == 2
    assert ql.encode(q, key=Key(1)).version == 2
    assert ql.encode(Raw(GRADIENT)).version == 2
    assert ql.encode(Raw(GRADIENT), structure=Structure.arrays([(1, 3000), (7001,)])).version == 2
    shared = ql.QuantizedGradient(q.levels, q.norms, 1, "shared", q.partition, q.shape)
    assert ql.decode(ql.encode(shared)).norm == "shared"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"version": 3}, "version is 3; it must be 1 or 2"),
        ({"version": 2, "code": "omega"}, "version 2 has no code 'omega'"),
        ({"version": 2, "layout": "dense"}, "version 2 has no layout 'dense'; known: auto, fixed, base3"),
        ({"version": 1, "layout": "base3"}, "version 1 carries levels under Elias codes"),
        ({"key": Key(step=2**32 - 1)}, "step of the key is 4294967295; it must be from 0 to 4294967294"),
        ({"key": Key(first=5)}, "a shard must begin at the beginning of a bucket"),
        ({"used": [True]}, "the used mask has 1 entries, not 3"),
        (
            {"structure": Structure.flat(10_001)},
            "the structure has other tensors than the quantized gradient",
        ),
    ],
)
def test_what_a_version_cannot_carry_is_a_value_error(arguments, text):
    """The error says what is wrong and what would be right."""
    with pytest.raises(ValueError, match=text):
        ql.encode(quantized(2), **arguments)


def test_a_version_of_tomorrow_is_refused():
    """A message of another version is refused, naming those that are known."""
    message = bytearray(ql.encode(quantized(2), version=2))
    message[4] = 3
    with pytest.raises(
        ql.MessageError, match="the message is of version 3; this library reads 1 and 2"
    ) as refused:
        ql.decode(message)
    assert refused.value.reason == "version"


def test_torch_levels_are_encoded():
    """Levels of a torch tensor give the bytes of the same levels in NumPy."""
    torch = pytest.importorskip("torch")
    q = ql.quantize(torch.from_numpy(GRADIENT), bits=2, seed=3)
    same = ql.quantize(GRADIENT, bits=2, seed=3)
    assert ql.encode(q, version=2) == ql.encode(same, version=2)
    total = torch.zeros(GRADIENT.size)
    ql.add_decoded([ql.encode(q, version=2)], total)
    assert total.numpy().tobytes() == (ql.dequantize(same) + np.float32(0)).tobytes()


@pytest.mark.parametrize("layout", ["fixed", "dense", "sparse", "ranged"])
def test_results_in_given_memory_are_the_same(layout):
    """With `out`, decode, decode_values and dequantize write what they would return into it."""
    q = ql.quantize(np.random.default_rng(0).standard_normal((90, 101)).astype(np.float32), bits=3)
    message = ql.encode(q, layout=layout)
    levels, values, again = (
        np.empty(9090, np.int8),
        np.empty((90, 101), np.float32),
        np.empty(9090, np.float32),
    )

    assert np.array_equal(ql.decode(message, out=levels).levels, q.levels)
    assert np.array_equal(levels, q.levels)
    assert ql.decode_values(message, out=values) is values
    assert np.array_equal(values, ql.dequantize(q))
    assert ql.dequantize(q, out=again) is again
    assert np.array_equal(again, values.reshape(-1))


def test_memory_that_does_not_fit_is_refused():
    """Memory of another dtype or size, or for a range, is named."""
    q = ql.quantize(np.ones(10, np.float32), bits=3)
    message = ql.encode(q)
    with pytest.raises(TypeError, match="out must be a contiguous, writable int8 array"):
        ql.decode(message, out=np.empty(10, np.int16))
    with pytest.raises(ValueError, match="out has 9 elements; the result has 10"):
        ql.decode_values(message, out=np.empty(9, np.float32))
    with pytest.raises(ValueError, match="not for a range"):
        ql.decode(message, 1, 3, out=np.empty(2, np.int8))


@pytest.mark.parametrize("levels", [1, 7, 300])
@pytest.mark.parametrize("size", [0, 10, 3000])
def test_auto_any_is_the_shortest_of_both_versions(size, levels):
    """No layout and code of either version gives a shorter message, and the levels come back."""
    q = ql.quantize(GRADIENT[:size], levels=levels, seed=2)
    message = ql.encode(q, layout="auto-any")

    both = [ql.encode(q), *(ql.encode(q, layout=name, version=2) for name in ("fixed", "ranged"))]
    assert len(message) == min(map(len, [*both, *([ql.encode(q, layout="base3")] if levels == 1 else [])]))
    assert np.array_equal(ql.decode(message).levels, q.levels)


def test_auto_any_keeps_to_what_is_asked_for():
    """A version, a code or a key leave fewer messages to choose from, and other payloads have no layouts."""
    q = ql.quantize(GRADIENT, levels=7, seed=2)

    assert ql.encode(q, layout="auto-any", version=1) == ql.encode(q)
    assert ql.encode(q, "omega", "auto-any") == ql.encode(q, "omega")
    assert ql.encode(q, layout="auto-any", version=2) == ql.encode(q, layout="ranged")
    with pytest.raises(ValueError, match="version 2 has no code"):
        ql.encode(q, "omega", "auto-any", version=2)
    with pytest.raises(TypeError, match="auto-any"):
        ql.encode(Raw(GRADIENT), layout="auto-any")
