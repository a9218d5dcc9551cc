"""The parts of a message around its payload, written on the GPU: norms, directory, zeros, checksums.

Also a view of a message in device memory as 32-bit words, whatever address it begins at.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, types

from qsgd_lab.kernels.arguments import ChunkDirectory
from qsgd_lab.kernels.cuda.device import address_of
from qsgd_lab.kernels.cuda.launch import WARP, current_launch_shape
from qsgd_lab.kernels.cuda.messages.checksum import INVERSION, PIECE, piece_states, warp_checksum, warp_state
from qsgd_lab.kernels.cuda.norms import LANES

HEADER_WORDS = 16
INDEX_CHECKSUM, HEADER_CHECKSUM = 14, 15  # words of the header
TAIL_WORDS = 2


@cuda.jit(device=True, cache=False, fastmath=False)
def directory_half(num_words, num_nonzeros, counted, i):
    """Return entry i of the lengths and, if counted, the numbers of non-zeros after them; 0 beyond them."""
    chunks = num_words.size
    if i < chunks:
        return np.uint32(num_words[i])
    return np.uint32(num_nonzeros[i - chunks]) if counted and i < 2 * chunks else np.uint32(0)


@cuda.jit(cache=True, fastmath=False)
def write_around(words, lead, payload, norms, num_words, checksums, num_nonzeros, counted):
    """Write header and lists, norms, directory and padding, and the zeros at the end.

    Parameters
    ----------
    words : uint32
        The message.
    lead : uint32
        Header and lists, without checksums.
    payload : int
        Where the payload begins, in words.
    norms : uint32[B]
        The bits of the norms.
    num_words : int32[C]
    checksums : uint32[C]
    num_nonzeros : int32[C]
    counted : bool
        Whether the directory has them: in the sparse layout.
    """
    directory = lead.size + norms.size
    halves = directory + checksums.size  # from here on two entries of 16 bits a word
    for word in range(cuda.grid(1), payload + TAIL_WORDS, cuda.gridsize(1)):
        # One thread a word of the message, whatever it is: no launch a part.
        if word < lead.size:
            words[word] = lead[word]
        elif word < directory:
            words[word] = norms[word - lead.size]
        elif word < halves:
            words[word] = checksums[word - directory]
        elif word < payload:
            half = 2 * (word - halves)
            low = directory_half(num_words, num_nonzeros, counted, half)
            high = directory_half(num_words, num_nonzeros, counted, half + 1)
            words[word] = np.uint32(low | np.uint32(high << np.uint32(16)))
        else:
            words[words.size - 1 - (word - payload)] = np.uint32(0)  # the tail, counted from the end


@cuda.jit(cache=True, fastmath=False)
def seal_header(words, states, word_tables, piece_tables):
    """Write the index's checksum, of which `states` are the pieces, and the header's; one warp does it."""
    lane = cuda.threadIdx.x % LANES
    # States of pieces are joined as words are, each moved past the 1024 words of a piece.
    state = warp_state(states, 0, states.size, False, piece_tables)
    if lane == 0:
        words[INDEX_CHECKSUM] = np.uint32(state ^ INVERSION)
    cuda.syncwarp()  # the header's checksum is also of the index's
    checksum = warp_checksum(words, 0, HEADER_CHECKSUM, word_tables)
    if lane == 0:
        words[HEADER_CHECKSUM] = checksum


def launch_seal(context, words, lead, payload, norms, directory, counted, word_tables, piece_tables):
    """Write all of a message but the payload, and then its two outer checksums.

    Parameters
    ----------
    context : DeviceContext
    words, lead, payload, norms
        As `write_around` takes them.
    directory : (int32[C], uint32[C], int32[C])
        Lengths, checksums and numbers of non-zeros.
    counted : bool
        Whether the message has the latter.
    word_tables, piece_tables : (uint32[4, 256], uint32[32])
        Of words, and of pieces of 1024 words.
    """
    lists = ChunkDirectory(*directory)
    num_words, checksums, num_nonzeros = lists.num_words, lists.checksums, lists.num_nonzeros
    count = payload - HEADER_WORDS
    states = context.scratch(-(-count // PIECE), np.uint32)
    shape = current_launch_shape()
    by_word = (*shape.grid(-(-(payload + TAIL_WORDS) // WARP)), context.stream)
    by_piece = (*shape.grid(states.size), context.stream)
    with context.active():
        write_around[by_word](words, lead, payload, norms, num_words, checksums, num_nonzeros, counted)
        piece_states[by_piece](words, HEADER_WORDS, count, word_tables, states)
        # Launches of one stream follow each other, so that nothing has to be waited for.
        seal_header[1, WARP, context.stream](words, states, word_tables, piece_tables)


WORD_BYTES = 4


@cuda.jit(cache=True, fastmath=False)
def copy_bytes(source, target):
    """Copy uint8 arrays of one size."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = source[i]


def word_view(context, view):
    """Return bytes as words: a view, or a copy where they do not begin at a multiple of four.

    Parameters
    ----------
    context : DeviceContext
    view : Numba uint8[4 w]
    """
    if view.size and address_of(view) % WORD_BYTES:  # a GPU loads words at their own addresses only
        with context.active():
            copy = context.scratch(view.size, np.uint8)
            copy_bytes[(*current_launch_shape().grid(-(-view.size // WARP)), context.stream)](view, copy)
        view = copy
    return view.view(np.uint32)


def written_ptx():
    """Return the version of the PTX that NVVM writes, (major, minor), or None where nothing compiles."""
    try:
        ptx, _ = cuda.compile_ptx(
            copy_bytes.py_func, types.void(types.uint8[::1], types.uint8[::1]), cc=(8, 0)
        )
    except Exception:  # whatever it is, a launch says it better
        return None
    text = ptx if isinstance(ptx, str) else bytes(ptx).decode()
    line = next((line for line in text.splitlines() if line.startswith(".version")), "")
    major, _, minor = line.removeprefix(".version").strip().partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
