"""The random words: Philox4x32-10, and which coordinate gets which word."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from gradient_strategies import seeds, stream_versions, words32
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.kernels.arguments import StreamKey
from qsgd_lab.kernels.philox import GROUP, fill_group, philox4x32, philox4x32_narrow
from qsgd_lab.kernels.reference import philox_words
from qsgd_lab.stream import Stream

#: Counter, key and words of philox4x32-10 in the known-answer file of Random123: zeros, ones, digits of pi.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
NUM_WORDS = 1 << 16
BASE = {"seed": 12345, "node": 3, "step": 17, "tensor": 5}


def hexadecimal(text):
    """Return the integers of a row of the known-answer file."""
    return [int(word, 16) for word in text.split()]


def kernel_words(count, seed, node, step, tensor, version=1):
    """Return the words of the first `count` coordinates as the kernels draw them, group by group."""
    key = StreamKey(*Stream(seed, node, step, tensor).kernel_key(version))
    groups = [np.empty(GROUP, np.uint32) for _ in range(-(-count // GROUP))]
    for g, words in enumerate(groups):
        fill_group(words, g, min(GROUP, count - g * GROUP), key)
    return np.concatenate([*groups, np.empty(0, np.uint32)])[:count]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    """Kernel and oracle give the published words of Random123."""
    arguments = [np.uint32(word) for word in hexadecimal(counter) + hexadecimal(key)]

    assert naive.philox4x32(hexadecimal(counter), hexadecimal(key)) == tuple(hexadecimal(words))
    assert [int(word) for word in philox4x32(*arguments)] == hexadecimal(words)
    assert [int(word) for word in philox4x32_narrow(*arguments)] == hexadecimal(words)


@given(st.lists(words32, min_size=4, max_size=4), st.lists(words32, min_size=2, max_size=2))
def test_the_kernel_is_philox(counter, key):
    """For every counter and key the kernel gives the words of the algorithm in plain integers."""
    words = philox4x32(*(np.uint32(word) for word in counter + key))

    narrow = philox4x32_narrow(*(np.uint32(word) for word in counter + key))
    assert tuple(map(int, words)) == tuple(map(int, narrow)) == naive.philox4x32(counter, key)


@given(st.integers(0, 1500), seeds, words32, words32, words32, stream_versions)
def test_words_follow_the_strided_order(count, seed, node, step, tensor, version):
    """Kernel and reference give each coordinate the word of its version's order.

    In version 1, coordinate 512 g + 128 w + j has word w of block 128 g + j. In version 2, coordinate 512 g +
    64 w + j has word w of block 64 g + j, and the one 256 further on the same word rotated by 16 bits.
    """
    expected = naive.gradient_words([count], seed, node, step, tensor, version)

    assert kernel_words(count, seed, node, step, tensor, version).tolist() == expected
    assert philox_words(count, seed, node, step, tensor, version).tolist() == expected


@given(st.integers(1, GROUP), st.integers(0, 2**25 - 1), stream_versions)
def test_a_group_does_not_depend_on_how_much_of_it_is_asked_for(count, group, version):
    """A group drawn alone, and any beginning of it, has the words that it has in the whole stream."""
    key = StreamKey(*Stream(**BASE).kernel_key(version))
    whole, part = np.empty(GROUP, np.uint32), np.zeros(GROUP, np.uint32)
    fill_group(whole, group, GROUP, key)
    fill_group(part, group, count, key)

    assert (part[:count] == whole[:count]).all()
    for place in (0, 255, 256, 511):
        assert int(whole[place]) == naive.coordinate_word(512 * group + place, *Stream(**BASE), version)


@pytest.mark.parametrize("version", [1, 2])
def test_the_last_group_of_the_largest_tensor_has_words_of_its_own(version):
    """Up to 2^34 coordinates the block counter does not wrap: the last group is not the first again."""
    key = StreamKey(*Stream(**BASE).kernel_key(version))
    first, last = np.empty(GROUP, np.uint32), np.empty(GROUP, np.uint32)
    fill_group(first, 0, GROUP, key)
    fill_group(last, 2**25 - 1, GROUP, key)

    assert int(last[-1]) == naive.coordinate_word(2**34 - 1, *Stream(**BASE), version)
    assert (first != last).all()


def centred(words):
    """Return words as numbers of mean 0 and variance 1."""
    return (words.astype(np.float64) / 2**32 - 0.5) * np.sqrt(12)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 12346},
        {"seed": 12345 + 2**32},
        {"node": 4},
        {"step": 18},
        {"tensor": 6},
        {"node": 17, "step": 3},
        {"step": 5, "tensor": 17},
    ],
    ids=str,
)
def test_streams_that_differ_in_one_field_are_uncorrelated(change):
    """Neighbouring seeds, nodes, steps and tensors draw independent words, and so do swapped fields."""
    words = philox_words(NUM_WORDS, **BASE)
    others = philox_words(NUM_WORDS, **{**BASE, **change})
    z = centred(words) @ centred(others) / np.sqrt(NUM_WORDS)

    assert abs(z) < 4.5  # equal streams would give 256
    assert (words == others).sum() <= 1  # 2^16 chances of 2^-32


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("lag", [1, 64, 127, 128, 256, 512])
def test_words_of_one_stream_are_uncorrelated(lag, version):
    """A coordinate's word says nothing about those a lane, a block or a group further on.

    Lag 256 in version 2 is that of coordinates that share a word, whose correlation is about 2^-15.
    """
    words = centred(philox_words(NUM_WORDS, **BASE, version=version))
    z = words[lag:] @ words[:-lag] / np.sqrt(NUM_WORDS - lag)

    assert abs(z) < 4.5


@pytest.mark.parametrize("half", [0, 1], ids=["first of a pair", "second"])
@pytest.mark.parametrize("version", [1, 2])
def test_words_are_uniform(version, half):
    """The top bytes of 2^16 words of either half of a group fill 256 cells evenly, as chance does."""
    words = philox_words(2 * NUM_WORDS, **BASE, version=version).reshape(-1, 2, 256)[:, half]
    counts = np.bincount(words.reshape(-1) >> 24, minlength=256)
    chi_squared = ((counts - 256) ** 2 / 256).sum()

    assert abs(chi_squared - 255) < 4.5 * np.sqrt(2 * 255)
