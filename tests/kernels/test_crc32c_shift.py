"""Checksums of pieces, moved past what follows them and added, are the checksum of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.coding.header import crc32c
from qsgd_lab.kernels.crc32c import LANES, past_words, piece_tables, times, word_tables

ONES = np.uint32(0xFFFFFFFF)
words = st.integers(0, 2**32 - 1)


def by_words(data):
    """Return the CRC-32C of words as a sum: each times x^32 for every word from it to the end."""
    state = np.uint32(0)
    for i, word in enumerate(data):
        word = np.uint32(word) ^ (ONES if i == 0 else np.uint32(0))
        state ^= np.uint32(times(word, np.uint32(past_words(len(data) - i))))
    return int(state ^ ONES)


@given(st.lists(words, min_size=1, max_size=40))
def test_a_checksum_is_a_sum_over_words(data):
    """Words, each moved past those from it to the end, add up to the known checksum."""
    assert by_words(data) == crc32c(np.array(data, "<u4").tobytes())


@given(words, words, words)
def test_products_commute_and_distribute(a, b, c):
    """Elements multiply as polynomials do, and x^0 is their one."""
    a, b, c = np.uint32(a), np.uint32(b), np.uint32(c)
    assert times(a, b) == times(b, a)
    assert times(a, b) ^ times(a, c) == times(a, b ^ c)
    assert times(a, np.uint32(past_words(0))) == a


@pytest.mark.parametrize(("tables", "unit", "behind"), [(word_tables(), 1, 1), (piece_tables(7), 7, 0)])
def test_tables_move_what_multiplication_moves(tables, unit, behind):
    """A look-up by bytes moves an element past a turn; a lane's factor moves it past what follows it."""
    for element in np.random.default_rng(0).integers(0, 2**32, 20, dtype=np.uint32):
        found = [int(tables.by_turn[j, element >> np.uint32(8 * j) & np.uint32(255)]) for j in range(4)]
        assert found[0] ^ found[1] ^ found[2] ^ found[3] == times(
            element, np.uint32(past_words(LANES * unit))
        )
    expected = [past_words(unit * (LANES - 1 - lane) + behind) for lane in range(LANES)]
    assert tables.by_lane.tolist() == expected
