"""Numbers that the kernels of both backends share with their callers: kinds, outcomes, table entries."""

from __future__ import annotations

import numpy as np

from qsgd_lab.levels import NORMS

#: Kinds of norm, as messages and kernels number them.
L2, MAX = NORMS.index("l2"), NORMS.index("max")
#: Layouts of a chunk, as messages and kernels number them; `qsgd_lab.coding.layouts` says what each is.
FIXED, DENSE, DENSE_SIGNED, SPARSE = 0, 1, 2, 3
#: Versions of the stream of random words: a word for each coordinate, or one for two; `kernels.philox`.
OWN_WORDS, SHARED_WORDS = np.uint32(1), np.uint32(2)
#: Coordinates of a chunk by default, and the most that it may have.
CHUNK_SIZE = 4096
#: What became of a chunk.
GOOD, DAMAGED, MALFORMED, NOT_CANONICAL = 0, 1, 2, 3

# An entry of a table of codewords: the codeword in the low 58 bits, its length above.
LENGTH_SHIFT = np.uint64(58)
CODE_MASK = np.uint64((1 << 58) - 1)

#: Lengths of gamma, delta and omega codewords are side by side in one uint64, 21 bits each: enough for a
#: chunk of 4096 times 61 bits.
LANE_BITS = np.uint64(21)
LANE_MASK = np.uint64((1 << 21) - 1)
