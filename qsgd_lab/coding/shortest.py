"""Which layout and code make a message shortest: what decides between dense and sparse."""

from __future__ import annotations

from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.index import index_bytes

#: (layout, code) in the order in which the kernels count them; the fixed layout, which needs no counting,
#: comes last.
COUNTED = [(layout, code) for layout in ("dense", "sparse") for code in LENGTHS]
CHOICES = [*COUNTED, ("fixed", "none")]


def shortest_of(sizes: dict[tuple[str, str], int], chunks: int, code: str, layout: str) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message, given the sizes of its payload and its chunks."""
    around = {kind: index_bytes(0, 0, chunks, kind) for kind, _ in sizes}
    # The first among equals; the dense-signed layout is never shorter than the dense one.
    candidates = [
        choice for choice in CHOICES if layout in ("auto", choice[0]) and code in ("auto", choice[1])
    ]
    if layout == "dense-signed":  # not among the choices, but a code may be chosen for it
        candidates = [(layout, name) for name in LENGTHS]
    kind, name = min(candidates, key=lambda choice: sizes[choice] + around[choice[0]])
    return name, kind
