"""Numbers that all backends of rotations share: centroids, kinds of scale, the range of plain arithmetic."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Kinds of scale of a block, as kernels number them.
SCALES = ("unbiased", "mse", "norm")
UNBIASED, LEAST_ERROR, MATCHED_NORM = 0, 1, 2
#: Number of a rule of rounding that is not a kind of scale: stochastic, between minimum and maximum.
STOCHASTIC = 3

#: Blocks whose length is in this range are rotated as they are; others are first multiplied by a power of
#: two, so that no sum of float32 overflows, and none loses bits below the smallest normal number.
SMALLEST_ROOT, LARGEST_ROOT = 2.0**-60, 2.0**60
LARGEST_FLOAT = float(np.finfo(np.float32).max)

#: An offset is a multiple of 1/1024, at most 8192, so that offset + code is exact in float32.
OFFSET_STEPS = 1024
MOST_OFFSET = 8192

#: The positive Lloyd-Max centroids of a normal coordinate of variance 1, by bits: float32 in hex.
_BOOKS: dict[int, str] = {
    1: "3f4c422a",
    2: "3ee7d2c9 3fc1555d",
    3: "3e7af9f8 3f418990 3fac0538 4009b97a",
    4: "3e0379fd 3ec6ae44 3f28215e 3f713d39 3fa0cc2f 3fcf1c25 40046ac7 402ee2bf",
    8: (
        "3c0a61e7 3ccf948a 3d2cfe97 3d723720 3d9bbac9 3dbe5dce 3de10579 3e01d953 "
        "3e133316 3e249076 3e35f1e0 3e4757c5 3e58c294 3e6a32bf 3e7ba8b7 3e869278 "
        "3e8f53ef 3e9818fb 3ea0e1d8 3ea9aec1 3eb27ff3 3ebb55ac 3ec4302a 3ecd0fad "
        "3ed5f474 3ededec0 3ee7ced5 3ef0c4f5 3ef9c165 3f016235 3f05e726 3f0a6fa9 "
        "3f0efbe4 3f138bfb 3f182016 3f1cb85c 3f2154f5 3f25f60a 3f2a9bc6 3f2f4652 "
        "3f33f5dc 3f38aa91 3f3d649f 3f422436 3f46e987 3f4bb4c4 3f508622 3f555dd5 "
        "3f5a3c15 3f5f211b 3f640d20 3f690061 3f6dfb1d 3f72fd94 3f780809 3f7d1abf "
        "3f811b00 3f83ad0a 3f8643a4 3f88def6 3f8b7f29 3f8e2468 3f90cedf 3f937ebe "
        "3f963435 3f98ef75 3f9bb0b3 3f9e7827 3fa1460a 3fa41a97 3fa6f60e 3fa9d8b0 "
        "3facc2c3 3fafb48e 3fb2ae5f 3fb5b084 3fb8bb52 3fbbcf22 3fbeec53 3fc21346 "
        "3fc54464 3fc8801e 3fcbc6e7 3fcf193e 3fd277a7 3fd5e2af 3fd95aee 3fdce104 "
        "3fe0759e 3fe41975 3fe7cd50 3feb9202 3fef6874 3ff3519c 3ff74e89 3ffb605e "
        "3fff8859 4001e3ea 40041024 400649ac 40089165 400ae84c 400d4f78 400fc821 "
        "401253a2 4014f37f 4017a972 401a776b 401d5fa3 402064a4 4023895f 4026d13f "
        "402a404a 402ddb43 4031a7dd 4035ad07 4039f345 403e853d 40437082 4048c6c8 "
        "404e9fbf 40551c3d 405c6bac 4064d66f 406ed39f 407b3da6 4085f897 4093502a"
    ),
}
BOOK_BITS = tuple(_BOOKS)


@cache
def book(bits: int) -> NDArray[np.float32]:
    """Return the 2^(bits - 1) positive centroids, ascending, float32."""
    patterns = [int(word, 16) for word in _BOOKS[bits].split()]
    return np.array(patterns, np.uint32).view(np.float32)


@cache
def middles(bits: int) -> NDArray[np.float64]:
    """Return what is half way between neighbouring centroids, exact in float64."""
    values = book(bits).astype(np.float64)
    return (values[1:] + values[:-1]) / 2


@cache
def table(bits: int) -> NDArray[np.float32]:
    """Return the centroids of all codes -2^(bits - 1) to 2^(bits - 1) - 1, in this order, float32."""
    values = book(bits)
    return np.concatenate([-values[::-1], values])


def block_sizes(num_coordinates: int, block_size: int) -> tuple[int, int, int]:
    """Return (number of blocks, coordinates of the last one, its padded size): the last may be short.

    All are 0 where there are no coordinates.
    """
    blocks = -(-num_coordinates // block_size)
    if not blocks:
        return 0, 0, 0
    rest = num_coordinates - (blocks - 1) * block_size
    return blocks, rest, 1 << (rest - 1).bit_length()


def padded_size(num_coordinates: int, block_size: int) -> int:
    """Return the number of coordinates that are sent, padding included."""
    blocks, _, last = block_sizes(num_coordinates, block_size)
    return (blocks - 1) * block_size + last if blocks else 0
