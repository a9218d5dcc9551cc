"""Slow, obvious counterparts of the formulas: enumeration of every outcome, strings of bits, plain loops.

Imports nothing from the package, so that it cannot share a mistake with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence


def norm_of(bucket: Sequence[float], norm: str) -> float:
    """Return the l2 or max norm."""
    return max(map(abs, bucket)) if norm == "max" else math.hypot(*bucket)


def level_outcomes(bucket: Sequence[float], s: int, norm: str) -> Iterator[tuple[float, list[int]]]:
    """Yield (probability, unsigned levels) for each of the 2^n roundings of one bucket."""
    scale = norm_of(bucket, norm)
    # A coordinate that is all of its bucket is at s, which rounding may put above.
    positions = [min(s, s * abs(v) / scale) if scale else 0.0 for v in bucket]
    for ups in itertools.product((0, 1), repeat=len(bucket)):
        probability, levels = 1.0, []
        for x, up in zip(positions, ups, strict=True):
            below = math.floor(x)
            probability *= (x - below) if up else 1 - (x - below)
            levels.append(below + up)
        if probability > 0:
            yield probability, levels


def expectation(bucket: Sequence[float], s: int, norm: str, figure: Callable[[list[int]], float]) -> float:
    """Return the expected value of a figure of the unsigned levels."""
    return sum(p * figure(levels) for p, levels in level_outcomes(bucket, s, norm))


def variance(bucket: Sequence[float], s: int, norm: str) -> float:
    """Return E||Q(v) - v||^2 by enumeration."""
    step = norm_of(bucket, norm) / s
    return expectation(
        bucket,
        s,
        norm,
        lambda levels: sum((step * k - abs(v)) ** 2 for k, v in zip(levels, bucket, strict=True)),
    )


def nonzeros(bucket: Sequence[float], s: int, norm: str) -> float:
    """Return E||Q(v)||_0 by enumeration."""
    return expectation(bucket, s, norm, lambda levels: sum(k > 0 for k in levels))


def buckets(vector: Sequence[float], size: int) -> list[Sequence[float]]:
    """Cut a vector into buckets, the last one possibly short."""
    return [vector[i : i + size] for i in range(0, len(vector), size)]


def nearest(bucket: Sequence[float], s: int, norm: str) -> list[float]:
    """Return the values of rounding each coordinate to its nearest level, by trying all levels."""
    scale = norm_of(bucket, norm)
    return [
        min((math.copysign(scale * k / s, v) for k in range(s + 1)), key=lambda q: abs(q - v)) for v in bucket
    ]


def omega_word(k: int) -> str:
    """Return Elias's omega code word, by definition: prepend binary(k), go on with its length less one."""
    word = "0"
    while k > 1:
        word = f"{k:b}" + word
        k = len(f"{k:b}") - 1
    return word


def gamma_word(k: int) -> str:
    """Return Elias's gamma code word: a zero for each bit of binary(k) but one, then binary(k)."""
    return "0" * (len(f"{k:b}") - 1) + f"{k:b}"


def delta_word(k: int) -> str:
    """Return Elias's delta code word: gamma of the number of bits, then binary(k) without its leading one."""
    return gamma_word(len(f"{k:b}")) + f"{k:b}"[1:]


WORDS = {"gamma": gamma_word, "delta": delta_word, "omega": omega_word}


def sparse_bits(levels: Sequence[int], code: str, end: str) -> int:
    """Return the length of Code_s for one bucket by writing it: norm, then gap, sign, level a non-zero."""
    text, last = "n" * 32, 0
    for place, level in enumerate(levels, start=1):
        if level:
            text += WORDS[code](place - last) + "s" + WORDS[code](level)
            last = place
    if end == "marker":
        text += WORDS[code](len(levels) + 1 - last)
    return len(text)


def dense_bits(levels: Sequence[int], code: str, sign: str) -> int:
    """Return the length of Code'_s for one bucket's levels by writing it."""
    text = "n" * 32
    for level in levels:
        text += WORDS[code](level + 1) + ("s" if level or sign == "always" else "")
    return len(text)


def supremum(figure: Callable[[float], float], n: int, s: int, per_level: int) -> float:
    """Return the largest sum of ``figure(x_i)`` over n positions x_i >= 0 with squares adding up to s^2.

    By dynamic programming over all ways to hand out the budget s^2 in equal pieces: the squared positions
    are multiples of 1 / (4 per_level), so that half-integers and integers are among the positions.
    """
    pieces = 4 * per_level * s * s
    values = [figure(math.sqrt(piece / (4 * per_level))) for piece in range(pieces + 1)]
    best = values
    for _ in range(n - 1):
        best = [
            max(one + rest for one, rest in zip(values[: budget + 1], best[budget::-1], strict=True))
            for budget in range(pieces + 1)
        ]
    return best[pieces]


def gaussian_prior_bits(levels: Sequence[int], rate: float, most: int) -> float:
    """Return the ideal length of levels under the prior proportional to exp(-rate k^2), |k| <= most."""
    total = sum(math.exp(-rate * k * k) for k in range(-most, most + 1))
    return sum(math.log2(total) + rate * k * k / math.log(2) for k in levels)
