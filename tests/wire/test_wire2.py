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
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.wire import checksum
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds import kind_names, kind_of, kinds
from qsgd_lab.wire.kinds.rotated import Rotated
from qsgd_lab.wire.message import dense, open_content, pack, size, unpack, values


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
