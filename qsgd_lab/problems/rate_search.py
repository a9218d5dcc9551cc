"""The search for a method's learning rate: the same for every method, and from any start the same answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Spacing of the factors in each stage: a wide lattice first, then the neighbours of its best.
STAGES = (4.0, 2.0)
#: Factors below 4**-6 or above 4**6 of a problem's rates are not tried.
FARTHEST = 4.0**6


#: Where a search begins.
FIRST = (1 / STAGES[0], 1.0)


def next_scales(
    known: Mapping[float, float], stages: Sequence[float] = STAGES, first: Sequence[float] = FIRST
) -> list[float]:
    """Return the factors of the learning rate to be tried next; none: the search has ended.

    It begins with `first`, goes on outwards by the first stage's spacing while the best is at an edge, and
    then tries the best's two neighbours at the spacing of each further stage.

    Parameters
    ----------
    known : mapping of float to float
        Loss at each factor tried so far; infinite where a run diverged.
    stages : sequence of float
        Spacings, each a power of the square root of 2.
    first : sequence of float
        Powers of the square root of 2, at most the first stage's spacing apart.
    """
    if not known:
        return [_on_lattice(scale) for scale in first]
    best = best_scale(known)
    for spacing in stages:
        missing = [
            _on_lattice(best * ratio)
            for ratio in (1 / spacing, spacing)
            if 1 / FARTHEST <= best * ratio <= FARTHEST and not _is_known_within(known, best, ratio)
        ]
        if missing:
            return missing
    return []


def _on_lattice(scale: float) -> float:
    """Return the nearest power of the square root of 2: products of roots round, and must be found again."""
    return float(2 ** (round(2 * math.log2(scale)) / 2))


def _is_known_within(known: Mapping[float, float], best: float, ratio: float) -> bool:
    """Whether a factor between the best and `ratio` times it was tried, on that side."""
    low, high = sorted((best, _on_lattice(best * ratio)))
    return any(low <= scale <= high and scale != best for scale in known)


def best_scale(known: Mapping[float, float]) -> float:
    """Return the factor of least loss, the smaller of equals; none at or above one that diverged counts.

    A run far beyond the limit of stability may end by chance with finite numbers and some accuracy.
    """
    limit = min((scale for scale, loss in known.items() if math.isinf(loss)), default=math.inf)
    return min(sorted(known), key=lambda scale: known[scale] if scale < limit else math.inf)


@dataclass(frozen=True)
class RateScales:
    """What a comparison may choose a method's factor of the learning rate from.

    Attributes
    ----------
    listed : tuple of float
        The factors; empty: whatever the search comes to.
    stages, first : tuple of float
        Of the search.
    """

    listed: tuple[float, ...] = (1.0,)
    stages: tuple[float, ...] = STAGES
    first: tuple[float, ...] = FIRST

    @classmethod
    def parse(cls, text: str) -> RateScales:
        """Return what ``auto``, ``coarse`` (the first stage alone) or a list of numbers says.

        Raises
        ------
        ValueError
            If it is neither.
        """
        if text in ("auto", "coarse"):
            return cls((), STAGES if text == "auto" else STAGES[:1])
        try:
            listed = tuple(float(part) for part in text.split(","))
        except ValueError:
            listed = ()
        if not listed or not all(0 < scale < math.inf for scale in listed):
            right = "write numbers above 0, such as 0.5,1,2, or auto or coarse"
            raise ValueError(f"--rate-scale is {text!r}; {right}")
        return cls(listed)

    @property
    def is_choice(self) -> bool:
        """Whether anything is to be chosen."""
        return len(self.listed) != 1

    def next(self, known: Mapping[float, float]) -> list[float]:
        """Return the factors to be tried next, given the losses known; none: `best_scale` is the choice."""
        if not self.listed:
            return next_scales(known, self.stages, self.first)
        return [scale for scale in self.listed if scale not in known]
