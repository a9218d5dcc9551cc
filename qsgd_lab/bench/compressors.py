"""Speed of any compressors in one process, beside eager torch of the same method and a copy.

All take turns, round after round, and the least processor time of one thread counts: other load on the
machine slows all of them alike, so that ratios mean more than the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from qsgd_lab.bench.timing import least_times
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class CompressorFigure:
    """One compressor's speed, in nanoseconds of one thread's processor time a coordinate.

    Attributes
    ----------
    compressor : str
        Its text.
    compress, decompress : float
        A gradient to its payload, and back.
    pack, unpack : float
        A payload to its message, and back.
    torch : float or None
        Compressing in eager torch, where it is written so; nothing is packed.
    copy : float
        NumPy's copy of the gradient.
    bits : float
        Of the message, a coordinate.
    """

    compressor: str
    compress: float
    decompress: float
    pack: float
    unpack: float
    torch: float | None
    copy: float
    bits: float


def texts_of(names: Sequence[str]) -> list[str]:
    """Return canonical texts, with every listed method at its defaults in the place of "all".

    Raises
    ------
    ValueError
        If a text names nothing.
    """
    found: list[str] = []
    for name in names:
        methods = COMPRESSORS.methods().items()
        listed = [text for text, method in methods if method.is_listed and not method.is_wrapper]
        found += listed if name == "all" else [str(COMPRESSORS.parse(name))]
    return list(dict.fromkeys(found))


def measure_compressors(
    names: Sequence[str], num_coordinates: int, repeats: int, seed: int = 0
) -> Iterator[CompressorFigure]:
    """Yield the figures of a normal gradient, a compressor after the other; a method's jobs take turns.

    Parameters
    ----------
    names : sequence of str
        Texts of compressors, or "all".
    num_coordinates : int
        n.
    repeats : int
        Rounds, of which the least time counts.

    Raises
    ------
    ValueError
        If a text names nothing.
    """
    import torch

    gradient = np.random.default_rng(seed).standard_normal(num_coordinates, dtype=np.float32)
    target, tensor = np.empty_like(gradient), torch.from_numpy(gradient)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for text in texts_of(names):
            jobs, bits = _jobs(text, gradient, tensor)
            least = least_times({**jobs, "copy": partial(np.copyto, target, gradient)}, repeats)
            ns = {name: 1e9 * seconds / num_coordinates for name, seconds in least.items()}
            own = {name: ns[name] for name in ("compress", "decompress", "pack", "unpack", "copy")}
            yield CompressorFigure(text, torch=ns.get("torch"), **own, bits=bits)
    finally:
        torch.set_num_threads(before)


def _jobs(text: str, gradient: Any, tensor: Any) -> tuple[dict[str, Callable[[], object]], float]:
    """Return what is timed, by name, and the bits of the message."""
    from qsgd_lab.bench.torch_methods import TORCH_METHODS

    spec = COMPRESSORS.parse(text)
    compressor, layout = spec.make(), _matrix(gradient.size)
    state = compressor.init(layout)
    payload, _ = compressor.compress(gradient, state, Stream())
    message = compressor.wire.pack(payload)
    jobs: dict[str, Callable[[], object]] = {
        "compress": partial(compressor.compress, gradient, state, Stream()),
        "decompress": partial(compressor.decompress, payload),
        "pack": partial(compressor.wire.pack, payload),
        "unpack": partial(compressor.wire.unpack, message, layout),
    }
    # Around another method there is more to do than eager torch's form of it does; EDEN's has two bits.
    is_alike = spec.inner is None and (spec.method.name != "eden" or spec.options["bits"] == 2)
    eager = TORCH_METHODS.get(spec.method.name) if is_alike else None
    if eager is not None:
        jobs["torch"] = partial(eager, tensor, spec.options)
    return jobs, 8 * len(message) / gradient.size


def _matrix(n: int) -> Layout:
    """Return one matrix, nearly square where powers of two divide n, for methods of low rank."""
    rows = 1
    while n % (2 * rows) == 0 and 4 * rows * rows <= n:
        rows *= 2
    return Layout(((rows, n // rows) if rows > 1 else (n,),))
