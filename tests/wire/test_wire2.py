"""Wire format 2: what is packed is read again, in exactly the bytes that were foretold."""

from __future__ import annotations

import random

import numpy as np
import pytest
import wire2_contents
from hypothesis import given, settings
from hypothesis import strategies as st

import qsgd_lab as ql
from qsgd_lab.cli.messages.decode import KINDS
from qsgd_lab.errors import LimitError, MessageError
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.wire import checksum
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds import kind_names, kind_of, kinds
from qsgd_lab.wire.kinds.block_integers import BlockIntegers
from qsgd_lab.wire.kinds.exponential import ExponentialLevels
from qsgd_lab.wire.kinds.hsq import HyperSphere
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.none import Nothing
from qsgd_lab.wire.kinds.private import Private
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.rotated import Rotated
from qsgd_lab.wire.kinds.sparse import SparseValues
from qsgd_lab.wire.message import dense, open_content, pack, size, unpack, values
from qsgd_lab.wire.structure import Structure


def packed(content: Content):
    """Return the message of a content."""
    return pack(content.payload, structure=content.structure, key=content.key, used=content.used)


def fields_of(payload):
    """Return the fields of a payload in a form that can be compared, arrays as their bytes."""
    if isinstance(payload, np.ndarray):
        return payload.dtype.str, payload.tobytes()
    if isinstance(payload, bytes):
        return "|u1", payload
    if not hasattr(payload, "__dataclass_fields__"):
        return payload
    return {
        name: fields_of(getattr(payload, name)) for name in payload.__dataclass_fields__ if name != "index"
    }


@pytest.mark.parametrize("name", wire2_contents.KINDS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_what_is_packed_is_read(name, seed):
    """Every payload comes back with structure, key and mask, and packing it again gives the same bytes."""
    content = wire2_contents.some_content(random.Random(seed), name)
    message = packed(content)

    received = open_content(bytes(message))

    assert kind_of(content.payload).name == name
    assert received.structure == content.structure
    assert received.key == content.key
    assert (received.used is None) == (content.used is None)
    if content.used is not None:
        assert received.used.tolist() == content.used.tolist()
    if name not in {"select", "private"}:
        assert fields_of(received.payload) == fields_of(content.payload)
    assert bytes(packed(received)) == bytes(message)
    if content.structure.num_coordinates < 10**6:
        assert dense(received.payload).tobytes() == dense(content.payload).tobytes()


@pytest.mark.parametrize("name", wire2_contents.KINDS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_sizes_are_foretold(name, seed):
    """The size without coding is that of the message, a multiple of 8 bytes."""
    content = wire2_contents.some_content(random.Random(seed), name)
    message = packed(content)

    assert size(content.payload, structure=content.structure, key=content.key, used=content.used) == 8 * len(
        message
    )
    assert len(message) % 8 == 0


def test_the_kinds_are_those_of_the_page():
    """The registry finds each kind once, by number, name and payload."""
    assert kind_names() == wire2_contents.KINDS == KINDS
    assert [kind.number for kind in kinds()] == [0, 1, 2, 3, 5, 6, 7, 9, 10, 12, 13, 14, 128]
    with pytest.raises(TypeError, match="no kind carries a list; payloads are BlockIntegers, ExponentialLev"):
        pack([1.0])


@pytest.mark.parametrize("name", wire2_contents.KINDS)
def test_every_prefix_and_every_flipped_bit_is_refused(name):
    """Checksums find a cut or a flipped bit wherever it is."""
    message = bytes(packed(wire2_contents.some_content(random.Random(5), name)))

    for stop in range(len(message)):
        with pytest.raises(MessageError):
            unpack(message[:stop])
    for bit in range(8 * len(message)):
        damaged = bytearray(message)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageError):
            unpack(damaged)


def test_a_small_tensor_has_an_envelope_of_56_bytes():
    """A flat tensor of 1000 levels takes 56 bytes beside norms and levels, against 96 in version 1."""
    quantized = ql.quantize(np.random.default_rng(0).standard_normal(1000).astype(np.float32), bits=7, seed=1)
    payload = 4 * 2 + 1000

    assert len(pack(quantized)) - payload == 56
    assert len(ql.encode(quantized, layout="fixed")) - payload == 96


#: Of ResNet-20: the first convolution, three stages of six, the classifier; a normalization after each.
CONVOLUTIONS = [432, *[2304] * 6, 4608, *[9216] * 5, 18432, *[36864] * 5]
CHANNELS = [*[16] * 7, *[32] * 6, *[64] * 6]
RESNET_SIZES = [
    size for pair in zip(CONVOLUTIONS, CHANNELS, strict=True) for size in (pair[0], pair[1], pair[1])
] + [640, 10]


def test_59_tensors_in_one_message_take_176_bytes():
    """The tensors of a small residual network take 176 bytes of envelope in one message, 56 each in 59."""
    gradient = np.random.default_rng(0).standard_normal(sum(RESNET_SIZES)).astype(np.float32)
    assert (len(RESNET_SIZES), gradient.size) == (59, 269_722)
    quantized = ql.quantize(gradient, bits=3, bucket_size="model", tensor_sizes=tuple(RESNET_SIZES))

    assert len(pack(quantized)) == 176 + 8 + 134_864  # one norm and n / 2 bytes, each up to a multiple of 8


def test_dense_values_of_unbounded_kinds_need_a_bound():
    """Where a short message may claim any number of coordinates, values need max_coordinates."""
    for name in ("none", "hsq", "sparse", "masked", "select", "private"):
        message = packed(wire2_contents.some_content(random.Random(5), name))
        with pytest.raises(LimitError, match="a bound is needed for dense values of kind"):
            values(message)
        assert values(message, max_coordinates=10**6).dtype == np.float32


def test_limits_of_the_receiver_hold_inside():
    """A kind that is not allowed is refused in the outermost message and in inner ones."""
    rng = random.Random(1)
    message = packed(wire2_contents.some_content(rng, "select"))
    with pytest.raises(MessageError, match=r"was not allowed; allowed are select"):
        unpack(message, kinds={"select"})
    with pytest.raises(MessageError, match="kind select was not allowed"):
        unpack(message, kinds=["raw"])
    with pytest.raises(ValueError, match="unknown kind 'rew'"):
        unpack(message, kinds=["rew"])
    with pytest.raises(LimitError, match="coordinates; at most 0 were allowed") as refused:
        unpack(packed(wire2_contents.some_content(random.Random(8), "sparse")), max_coordinates=0)
    assert refused.value.reason == "limit"


def test_levels_choose_the_shorter_layout():
    """A ternary gradient is written in base 3, others in fixed fields; either can be asked for."""
    ternary = ql.quantize(np.arange(-7, 9).astype(np.float32), bits=1)
    assert unpack(pack(ternary)).layout == "base3"
    assert isinstance(unpack(pack(ternary)), QuantizedGradient)
    assert unpack(pack(ql.quantize(np.ones(9, np.float32), bits=2))).layout == "fixed"


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FC00001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1])
@pytest.mark.parametrize("at", [72, 76])
def test_patterns_of_floats_are_refused_without_a_warning(at, bits):
    """No pattern of a block's step or offset makes NumPy warn, or raise where it was told to."""
    ones = np.ones(1, np.float32)
    message = np.array(pack(Rotated(np.ones(4, np.int8), ones, 0 * ones, 4, 2, 4, 1, Key())))
    message[at : at + 4] = np.array([bits], "<u4").view(np.uint8)
    message[32:36] = np.array([checksum.front_and_payload_check(message, 80)[0]], "<u4").view(np.uint8)
    with np.errstate(all="raise"):
        if at == 72 and bits in (0x7F7FFFFF, 1):
            assert unpack(message).scales.view(np.uint32) == bits
        else:
            with pytest.raises(MessageError, match=r"norm 0 is|another offset|an offset is not a multiple"):
                unpack(message)


ONE = np.ones(1, np.float32)
WHOLE = Partition((4,), "model")


def integers(codes, bits=8):
    """Return one block of four integers."""
    return BlockIntegers(codes, ONE, 4, bits, 4, False)


def sphere(codes, norms, ranges=None, bits=0):
    """Return two segments of two coordinates, and two codewords."""
    return HyperSphere(codes, norms, ranges, 4, 1, 1, bits, 0, Key())


def levels(values, bucket="model"):
    """Return four levels of s = 1."""
    return Levels(values, ONE, 1, "l2", Partition((4,), bucket), (4,), "fixed")


RANGES = np.float32([[0, 1], [0, 1]])
WRONG = {
    "codes that wrap": lambda: integers(np.array([300, 1, 2, 3])),
    "codes that are not whole": lambda: integers(np.array([1.7, 1, 2, 3])),
    "codes of 4 bits that wrap": lambda: integers(np.array([257, 1, 2, 3]), 4),
    "codes in a list": lambda: integers([1, 1, 2, 3]),
    "rotated": lambda: Rotated(np.array([300, 1, 2, 3]), ONE, None, 4, 8, 4, 1, Key()),
    "a negative codeword": lambda: sphere(np.array([-1, 0]), np.ones(2, np.float32)),
    "a negative level of a norm": lambda: sphere(np.array([1, 0]), np.array([-1, 1]), RANGES, 2),
    "half a level of a norm": lambda: sphere(np.array([1, 0]), np.array([0.5, 1]), RANGES, 2),
    "a codeword of norm 0": lambda: sphere(np.array([1, 0]), np.array([0, 1]), RANGES, 2),
    "positions that are not whole": lambda: SparseValues(np.array([0.5, 1.5]), np.ones(2, np.float32), 4),
    "positions in a list": lambda: SparseValues([0, 1], np.ones(2, np.float32), 4),
    "more values than positions": lambda: SparseValues(np.arange(2), np.ones((2, 2), np.float32), 4),
    "exponential": lambda: ExponentialLevels(np.array([0.5, 0, 0, 0]), ONE, 3, True, "l2", WHOLE),
    "half a level": lambda: levels(np.array([0.5, 0, 0, 1])),
    "buckets of foo": lambda: levels(np.zeros(4, np.int8), "foo"),
    "buckets of 4.0": lambda: levels(np.zeros(4, np.int8), 4.0),
    "raw values in a list": lambda: Raw([1, 2]),
    "half a coordinate": lambda: Nothing(1.5),
    "a private number": lambda: Private("acme.f32", b"", Structure.flat(2), number=5),
    "a private text": lambda: Private("acme.f32", "x" * 8, Structure.flat(2)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_would_wrap_or_be_cut_off_is_refused(name):
    """The writer refuses values that do not fit a field, in one line, before a cast hides them."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        pack(WRONG[name]())


def test_sizes_refuse_the_number_that_messages_refuse():
    """A private number that no message can have has no size either."""
    with pytest.raises(ValueError, match="128 to 254"):
        size(WRONG["a private number"]())


def test_remembered_structures_cannot_be_changed():
    """The arrays of a structure are read-only: messages and callers share it."""
    structure = Structure.array((6,), [2, 4])
    message = pack(Raw(np.ones(6, np.float32)), structure=structure)

    for shared in (structure, open_content(message).structure):
        with pytest.raises(ValueError, match="read-only"):
            shared.sizes[0] = 3


@pytest.mark.parametrize("version", [1, 2])
def test_kinds_may_be_an_iterator(version):
    """An iterator of kinds holds for all messages of a sum, not for the first alone."""
    message = ql.encode(ql.quantize(np.float32([3, -4]), bits=2, norm="max"), version=version)
    total, expected = np.zeros(2, np.float32), np.zeros(2, np.float32)

    ql.add_decoded([message] * 3, total, kinds=iter(["levels"]))
    ql.add_decoded([message] * 3, expected)

    assert total.tolist() == expected.tolist()


def test_an_unknown_kind_is_refused_without_a_message():
    """Names of kinds are checked before any message is."""
    with pytest.raises(ValueError, match="unknown kind 'nix'"):
        ql.add_decoded([], np.zeros(1, np.float32), kinds=["nix"])
