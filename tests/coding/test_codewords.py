"""Elias codewords, their lengths, and arrays of them."""

from __future__ import annotations

import naive_codes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab import MessageError
from qsgd_lab.coding.elias import CODES, LENGTHS, codeword, read_integers, write_integers

EDGES = sorted({2**t + d for t in range(1, 64) for d in (-1, 0, 1)} | {2**64 - 1})

#: From Elias' paper (gamma and delta with their binary parts interleaved otherwise, omega as it is).
GOLDEN = {
    "gamma": {1: "1", 2: "010", 3: "011", 4: "00100", 7: "00111", 8: "0001000", 17: "000010001"},
    "delta": {1: "1", 2: "0100", 3: "0101", 4: "01100", 7: "01111", 8: "00100000", 17: "001010001"},
    "omega": {
        1: "0",
        2: "100",
        3: "110",
        4: "101000",
        7: "101110",
        8: "1110000",
        16: "10100100000",
        100: "1011011001000",
    },
}


@pytest.mark.parametrize("code", CODES)
def test_codewords_are_the_known_ones(code):
    """First codewords are those of the literature."""
    assert {k: codeword(k, code) for k in GOLDEN[code]} == GOLDEN[code]


@pytest.mark.parametrize("code", CODES)
def test_codewords_agree_with_their_definitions(code):
    """Codewords of small integers and of all 2^t and their neighbours are as defined."""
    for k in [*range(1, 5000), *EDGES]:
        assert codeword(k, code) == naive_codes.SPELL[code](k)


@pytest.mark.parametrize("code", CODES)
def test_every_length_to_two_to_the_twentieth(code):
    """The length of every codeword up to 2^20, of all 2^t and of their neighbours is as computed."""
    from qsgd_lab.kernels.elias import codeword_length

    length = LENGTHS[code]
    exponents = np.frexp(np.arange(1, 2**20 + 1))[1] - 1
    by_exponent = np.array([len(naive_codes.SPELL[code](2**t)) for t in range(21)])
    assert [length(k) for k in range(1, 2**20 + 1)] == by_exponent[exponents].tolist()
    for k in EDGES:
        assert length(k) == len(naive_codes.SPELL[code](k)) == codeword_length(np.uint64(k), CODES[code])


@pytest.mark.parametrize("code", CODES)
def test_arrays_are_their_codewords_one_after_another(code):
    """A stream is the codewords in order, the first bit lowest, and zeros to the end of the last byte."""
    values = [*range(1, 300), *EDGES]
    text = "".join(naive_codes.SPELL[code](k) for k in values)

    stream = write_integers(np.array(values, np.uint64), code)

    expected = np.packbits(np.array(list(map(int, text)), np.uint8), bitorder="little")
    assert stream.tolist() == expected.tolist()
    assert read_integers(stream, len(values), code).tolist() == values


@given(st.lists(st.integers(1, 2**64 - 1), max_size=50), st.sampled_from(sorted(CODES)))
def test_reading_inverts_writing(values, code):
    """What is written is read back, whatever the integers."""
    stream = write_integers(np.array(values, np.uint64), code)
    assert read_integers(stream, len(values), code).tolist() == values


@given(st.binary(max_size=40), st.integers(0, 400), st.sampled_from(sorted(CODES)))
def test_reading_noise_gives_integers_or_a_message_error(data, count, code):
    """Any bytes are either codewords, which written again are the same bits, or refused."""
    try:
        values = read_integers(data, count, code)
    except MessageError:
        return
    again = np.unpackbits(write_integers(values, code), bitorder="little")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    used = sum(LENGTHS[code](int(k)) for k in values)
    assert again[:used].tolist() == bits[:used].tolist()


def test_integers_below_one_are_refused():
    """Zero and negative integers have no codeword, and the error says where codes start."""
    with pytest.raises(ValueError, match="start at 1"):
        write_integers([3, 0], "gamma")
    with pytest.raises(ValueError, match="start at 1"):
        codeword(0, "omega")
    with pytest.raises(TypeError, match="integers"):
        write_integers([1.5], "gamma")
    with pytest.raises(ValueError, match="known: gamma"):
        codeword(1, "alpha")


def test_no_more_integers_than_bits():
    """A count that the stream cannot hold is refused before anything is allocated."""
    with pytest.raises(MessageError, match="cannot hold"):
        read_integers(b"\xff", 2**60, "gamma")
