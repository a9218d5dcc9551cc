"""IDX files: what is there is read, anything else is one line."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.data.idx import decompress, idx_bytes, parse_idx

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def idx(shape, content, kind=8):
    """Return an IDX file as the format's page describes it."""
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + bytes(content)


@given(SHAPES, st.data())
def test_what_is_written_is_read(shape, data):
    """Header and bytes give the array, row by row; the size is known before."""
    content = data.draw(st.binary(min_size=math.prod(shape), max_size=math.prod(shape)))
    file = idx(shape, content)
    assert len(file) == idx_bytes(shape)
    array = parse_idx(file, shape)
    assert array.shape == shape
    assert array.tobytes() == content


@given(SHAPES, st.integers(0, 40), st.integers(0, 255))
def test_a_changed_header_or_length_is_refused(shape, at, value):
    """No byte of the header can be another one, and the file can be neither shorter nor longer."""
    file = bytearray(idx(shape, bytes(math.prod(shape))))
    header = 4 + 4 * len(shape)
    at %= header
    if file[at] != value:
        file[at] = value
        with pytest.raises(ValueError, match=r"."):
            parse_idx(bytes(file), shape)
    sound = idx(shape, bytes(math.prod(shape)))
    for wrong in (sound[:-1], sound + b"\0", sound[: at % 4], b""):
        with pytest.raises(ValueError, match=r"."):
            parse_idx(wrong, shape)


def test_hostile_dimensions_make_no_memory():
    """A file that claims 2^32 - 1 images is refused by its shape."""
    with pytest.raises(ValueError, match="has the shape"):
        parse_idx(idx((2**32 - 1, 28, 28), b""), (10, 28, 28))


@given(st.binary(max_size=100))
def test_gzip_gives_back_what_was_packed(content):
    """Whole files only: cut, damaged, or with something behind the end they are refused."""
    packed = gzip.compress(content)
    assert decompress(packed, 100) == content
    for wrong in (packed[:-1], packed + b"x", b"x" + packed, packed[:-8] + b"\0" * 8):
        if wrong == packed or (wrong[:-8] == packed[:-8] and content == b""):
            continue  # the checksum and the length of nothing are 0
        with pytest.raises(ValueError, match=r"gzip|after its end"):
            decompress(wrong, 100)


def test_a_small_file_that_holds_much_is_refused_early():
    """100 MB of zeros in 100 kB: not more than was asked for is made."""
    packed = gzip.compress(bytes(10**8))
    with pytest.raises(ValueError, match="holds more than 1000 bytes"):
        decompress(packed, 1000)


def test_types_other_than_bytes_are_named():
    """Type 13 is float32 in this format."""
    with pytest.raises(ValueError, match="values of type 13"):
        parse_idx(idx((1,), np.float32(1).tobytes(), kind=13), (1,))
