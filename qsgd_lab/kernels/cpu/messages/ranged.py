"""The coding loops of layout `ranged`: bytes under 12-bit frequencies, by interleaved states of 32 bits.

A chunk's symbols are N bytes; byte i belongs to state i mod L and to block i // 512, whose class says which
table. Words of 16 bits move between states and stream. The bytes that a message holds are specified in
docs/wire-format-2.md; these loops have no branch that depends on data, since none could be predicted.

References
----------
Duda: Asymmetric numeral systems. 2009, arXiv:0902.0271. Giesen: Interleaved entropy coders. 2014,
arXiv:1402.3392.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit

BLOCK_BITS = 9  # log2 of the symbols that share a class
LEAST_STATE = 1 << 16
EXCEPTION = 1 << 12  # in an entry: the byte is one that a table does not know, or the escape

_LOW = np.uint32(0xFFFF)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_SLOT = np.uint32(4095)
_LEAST = np.uint32(LEAST_STATE)
_HALF = np.uint32(16)
_TWELVE = np.uint32(12)
_TWENTY = np.uint32(20)
_BYTE = np.uint32(24)
_BITS = np.int64(BLOCK_BITS)


@njit(cache=True, fastmath=False)
def encode_symbols(symbols, classes, entries, reciprocals, states, words, flags):
    """Encode symbols from the last to the first; return where in `words` the first word is.

    Parameters
    ----------
    symbols : uint8[N]
    classes : uint8[ceil(N / 512)]
        The class of each block.
    entries : uint64[256 K]
        In the low half frequency | EXCEPTION | start << 20, of the escape for a byte without a frequency.
    reciprocals : float64[256 K]
        Of the same frequencies, rounded up a little.
    states : uint32[L]
        Written: what a reader begins with.
    words : uint16
        At least N + 1, written from its end on.
    flags : uint8[ceil(N / 512)]
        Written: whether a block has exceptions.
    """
    symbols, classes, states, words = map_unowned(symbols, classes, states, words)
    entries, reciprocals = unowned_view(entries), unowned_view(reciprocals)
    mask = np.int64(states.size - 1)
    for state in range(states.size):
        states[state] = _LEAST
    position = np.int64(words.size)
    for block in range(classes.size - 1, -1, -1):
        table, seen = np.int64(classes[block]) << 8, np.uint32(0)
        first = block << _BITS
        for i in range(min(symbols.size, first + 512) - 1, first - 1, -1):
            value = table + np.int64(symbols[i])
            entry = np.uint32(entries[value] & _LOW_HALF)
            seen |= entry
            frequency = entry & _SLOT
            x = states[i & mask]
            full = np.uint32(x >= np.uint32(frequency << _TWENTY))
            words[position - 1] = np.uint16(x & _LOW)  # written in any case, and kept if the state is full
            position -= np.int64(full)
            x >>= np.uint32(full << np.uint32(4))
            # Exact: the quotient is below 2^20, and the reciprocal too large by less than 2^-49 of it.
            quotient = np.uint32(np.int64(np.float64(x) * reciprocals[value]))
            rest = np.uint32(x - quotient * frequency)
            states[i & mask] = np.uint32((quotient << _TWELVE) + rest + (entry >> _TWENTY))
        flags[block] = np.uint8((seen & np.uint32(EXCEPTION)) != 0)
    return position


@njit(cache=True, fastmath=False, forceinline=True)
def map_unowned(first, second, third, fourth):
    """Return four arrays as views that nothing counts."""
    return unowned_view(first), unowned_view(second), unowned_view(third), unowned_view(fourth)


@njit(cache=True, fastmath=False)
def decode_symbols(stream, word, last_word, classes, slots, states, symbols):
    """Decode symbols; return the number of the word that follows those read.

    More words may have been asked for than there are: the caller compares, and then whether all states
    ended at 2^16.

    Parameters
    ----------
    stream : uint16
        The payload, with at least one word from `last_word` on.
    word, last_word : int
        The first word, and the one after the last that may be read.
    classes : uint8[ceil(N / 512)]
    slots : uint32[4096 K]
        By slot: frequency | slot - start << 12 | byte << 24.
    states : uint32[L]
        As the chunk has them; used up.
    symbols : uint8[N]
    """
    symbols, classes, states, stream = map_unowned(symbols, classes, states, stream)
    slots = unowned_view(slots)
    mask = np.int64(states.size - 1)
    for block in range(classes.size):
        table = np.int64(classes[block]) << 12
        first = block << _BITS
        for i in range(first, min(symbols.size, first + 512)):
            x = states[i & mask]
            entry = slots[table + np.int64(x & _SLOT)]
            x = np.uint32((entry & _SLOT) * (x >> _TWELVE) + ((entry >> _TWELVE) & _SLOT))
            short = np.uint32(x < _LEAST)
            found = np.uint32(stream[min(word, last_word)])  # beyond the end, whatever is there: then refused
            x = np.uint32(x << np.uint32(short << np.uint32(4))) | np.uint32(found * short)
            word += np.int64(short)
            states[i & mask] = x
            symbols[i] = np.uint8(entry >> _BYTE)
    return word
