"""Version 2 of the stream: the law of two coordinates that share a word, and values that never change."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from qsgd_lab import quantize
from qsgd_lab.kernels.philox import rotated
from qsgd_lab.kernels.reference import philox_words

STREAM = {"seed": 7, "node": 1, "step": 2, "tensor": 3}
#: The first words of a group, those 256 further on, and the last of a group that is not the first.
GOLDEN_WORDS = {
    0: 0x9B5EB491,
    1: 0xEDB76834,
    63: 0x9CB54028,
    64: 0xE573AE91,
    255: 0xAAB28061,
    256: 0xB4919B5E,
    257: 0x6834EDB7,
    511: 0x8061AAB2,
    512: 0xBD9760F3,
    1535: 0x7A4BC580,
}
GOLDEN_DIGESTS = {
    (1, "l2"): "2e2f9fced748c3ad",
    (7, "max"): "42b18b60dea7b2d9",
    (255, "max"): "51de9eb0e8f4135b",
}


def all_rotations(half):
    """Return all words of 2 * half bits, and each with its halves exchanged."""
    words = np.arange(4**half)
    return words, words >> half | (words & (2**half - 1)) << half


@pytest.mark.parametrize("half", [1, 2, 3, 4, 5])
def test_each_coordinate_has_the_law_of_a_word_of_its_own(half):
    """Over all words, a rotated word takes every value once: for every threshold the same probability."""
    words, others = all_rotations(half)

    assert np.array_equal(np.sort(others), words)


@pytest.mark.parametrize("half", [1, 2, 3, 4, 5])
def test_two_coordinates_of_one_word_are_nearly_independent(half):
    """|P(w < a and w' < b) - P(w < a) P(w' < b)| is at most 2^-(half + 1), for all thresholds a and b.

    Over all words of 2 half bits, w' being w rotated by half of them; so 2^-17 for words of 32 bits. With a
    word for each the difference is 0, with one word for both without rotation a quarter.
    """
    words, others = all_rotations(half)
    count = 4**half
    table = np.zeros((count + 1, count + 1))
    table[words + 1, others + 1] = 1
    together = table.cumsum(0).cumsum(1) / count  # by the thresholds a and b, from 0 to 2^(2 half)
    alone = np.arange(count + 1) / count
    difference = together - np.outer(alone, alone)

    assert np.abs(difference).max() <= 2.0 ** -(half + 1)
    assert np.abs(difference).max() >= 0.9 * 2.0 ** -(half + 1) - 4.0**-half  # and not much below
    assert difference.min() > -(4.0**-half)


@pytest.mark.parametrize("word", [0, 1, 0x10000, 0xFFFF, 0x12345678, 0xFFFFFFFF, 0x80000001])
def test_a_word_is_rotated_by_half_of_its_bits(word):
    """The second coordinate has the halves of the first one's word, exchanged."""
    assert int(rotated(np.uint32(word))) == (word >> 16) + (word % 2**16) * 2**16


def test_golden_words():
    """These words never change: what was rounded with one release can be rounded with the next."""
    words = philox_words(1536, **STREAM, version=2)

    assert {index: int(words[index]) for index in GOLDEN_WORDS} == GOLDEN_WORDS


@pytest.mark.parametrize(("levels", "norm"), GOLDEN_DIGESTS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_golden_levels(levels, norm, backend):
    """Nor do the levels of a gradient of 3,001 coordinates in buckets of 300."""
    x = np.sin(np.arange(3001) * 0.7).astype(np.float32)
    scheme = {"levels": levels, "norm": norm, "bucket_size": 300, "stream_version": 2}
    found = quantize(x, **scheme, **STREAM, backend=backend).levels.astype(np.int16)

    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == GOLDEN_DIGESTS[levels, norm]


@pytest.mark.parametrize("version", [0, 3, True, None, "2", 1.5])
def test_other_versions_are_refused(version):
    """One line says what would be right."""
    with pytest.raises(ValueError, match=r"stream_version is .*; it must be 1 or 2"):
        quantize(np.ones(3, np.float32), bits=2, stream_version=version)
