"""The choice of layout (dense, sparse or fixed) and code that makes a message shortest."""

from __future__ import annotations

from functools import lru_cache

from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.index import index_bytes

#: (layout, code) in the order in which the kernels count them; the fixed layout, which needs no counting,
#: comes last.
COUNTED = [(layout, code) for layout in ("dense", "sparse") for code in LENGTHS]
CHOICES = [*COUNTED, ("fixed", "none")]


def shortest_of(sizes: dict[tuple[str, str], int], chunks: int, code: str, layout: str) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message, given the sizes of its payload and its chunks."""
    sparse = index_bytes(0, 0, chunks, "sparse") - index_bytes(0, 0, chunks, "dense")  # its directory counts
    best, shortest = ("", ""), -1
    for choice in _candidates(code, layout):
        size = sizes[choice] + (sparse if choice[0] == "sparse" else 0)
        if shortest < 0 or size < shortest:  # the first among equals
            best, shortest = choice, size
    return best[1], best[0]


@lru_cache(maxsize=32)
def _candidates(code: str, layout: str) -> list[tuple[str, str]]:
    """Return the (layout, code) that "auto" in either place leaves open."""
    if layout == "dense-signed":  # never shorter than the dense one, but a code may be chosen for it
        return [(layout, name) for name in LENGTHS]
    return [choice for choice in CHOICES if layout in ("auto", choice[0]) and code in ("auto", choice[1])]
