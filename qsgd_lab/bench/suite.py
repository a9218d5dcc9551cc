"""All figures of ``qsgd-lab bench``: what quantizes and codes, how fast and to how many bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import qsgd_lab as ql
from qsgd_lab.bench.rivals import OURS, RIVALS, Levels, Rival
from qsgd_lab.bench.timing import best_time

BUCKET_SIZE = 512


@dataclass(frozen=True)
class Figure:
    """One measured operation.

    Attributes
    ----------
    name : str
    num_levels : int or None
        s; None for the copy.
    operation : {"copy", "quantize", "encode", "decode", "dequantize"}
    ns : float
        Processor time of one thread, nanoseconds a coordinate.
    bits : float or None
        Of the result, a coordinate.
    ours : bool
    """

    name: str
    num_levels: int | None
    operation: str
    ns: float
    bits: float | None
    ours: bool

    @property
    def gigabytes(self) -> float:
        """How much of a float32 gradient is worked on, GB a second."""
        return 4 / self.ns


def gaussian_gradient(num_coordinates: int, seed: int = 0) -> NDArray[np.float32]:
    """Return a gradient of independent normal coordinates."""
    return np.random.default_rng(seed).standard_normal(num_coordinates, dtype=np.float32)


def measure(
    gradient: NDArray[np.float32],
    all_levels: Sequence[int],
    against: Sequence[str],
    repeats: int,
    seed: int = 0,
) -> Iterator[Figure]:
    """Yield the figures of a gradient, bucket size 512, l2, one after another.

    Parameters
    ----------
    gradient : float32, shape (n,)
    all_levels : sequence of int
        Values of s, at most 127.
    against : sequence of str
        Keys of `RIVALS`, or "torch". Those whose package is missing are left out.
    repeats : int
        Calls of which the fastest counts.
    """
    num_coordinates = gradient.size
    target = np.empty_like(gradient)
    seconds = best_time(lambda: np.copyto(target, gradient), repeats)
    yield Figure("NumPy copy", None, "copy", _ns(seconds, num_coordinates), None, True)
    for num_levels in all_levels:
        yield from _measure_quantizers(gradient, num_levels, "torch" in against, repeats)
        levels = ql.quantize(gradient, levels=num_levels, bucket_size=BUCKET_SIZE, seed=seed).levels
        for name, build in OURS.items():
            yield from _measure_coder(name, build(levels, num_levels), levels, num_levels, repeats, True)
        for name in against:
            if name != "torch" and (rival := _build(name, levels, num_levels)) is not None:
                yield from _measure_coder(name, rival, levels, num_levels, repeats, False)


def _ns(seconds: float, num_coordinates: float) -> float:
    return 1e9 * seconds / num_coordinates


def _build(name: str, levels: Levels, num_levels: int) -> Rival | None:
    """Return the rival, None where its package is missing."""
    try:
        return RIVALS[name](levels, num_levels)
    except ImportError:
        return None


def _measure_quantizers(
    gradient: NDArray[np.float32], num_levels: int, with_torch: bool, repeats: int
) -> Iterator[Figure]:
    size = gradient.size
    seconds = best_time(lambda: ql.quantize(gradient, levels=num_levels, bucket_size=BUCKET_SIZE), repeats)
    yield Figure("quantize", num_levels, "quantize", _ns(seconds, size), None, True)
    seconds = best_time(
        lambda: ql.quantize(gradient, levels=num_levels, bucket_size=BUCKET_SIZE, stream_version=2), repeats
    )
    yield Figure("quantize, stream 2", num_levels, "quantize", _ns(seconds, size), None, True)
    quantized = ql.quantize(gradient, levels=num_levels, bucket_size=BUCKET_SIZE)
    message = ql.encode(quantized, layout="fixed")
    seconds = best_time(lambda: ql.decode_values(message), repeats)
    yield Figure("fixed, to values", num_levels, "dequantize", _ns(seconds, size), None, True)
    if with_torch:
        import torch

        from qsgd_lab.bench.rivals import bucketed, grace

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        for name, build in (("torch, as GRACE", grace), ("torch, bucketed", bucketed)):
            seconds = best_time(build(gradient, num_levels), max(2, repeats // 2))
            yield Figure(name, num_levels, "quantize", _ns(seconds, size), None, False)
        torch.set_num_threads(before)


def _measure_coder(
    name: str, coder: Rival, levels: Levels, num_levels: int, repeats: int, is_ours: bool
) -> Iterator[Figure]:
    """Yield encoding and decoding of one coder, whose result is checked first."""
    encoded = coder.encode()
    size = round(levels.size * coder.share)
    if not np.array_equal(np.asarray(coder.decode(encoded)), levels[:size]):
        raise AssertionError(f"{name} does not decode to what was encoded")
    bits = 8 * coder.num_bytes(encoded) / size
    seconds = best_time(coder.encode, repeats)
    yield Figure(name, num_levels, "encode", _ns(seconds, size), bits, is_ours)
    seconds = best_time(lambda: coder.decode(encoded), repeats)
    yield Figure(name, num_levels, "decode", _ns(seconds, size), bits, is_ours)
