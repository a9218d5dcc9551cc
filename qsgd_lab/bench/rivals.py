"""Other packages for the same task, each behind the same two functions.

A rival is built for signed levels (int8) of s; building raises ImportError where its package is missing.

Quantizing with eager torch, as public systems write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int8]


@dataclass(frozen=True)
class Rival:
    """An encoder and a decoder of one array of levels.

    Attributes
    ----------
    encode : () -> encoded
    decode : encoded -> levels, or something that lists them
    num_bytes : encoded -> int
    share : float
        Of the levels, the part from the beginning that is coded: slow rivals are given less.
    """

    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    num_bytes: Callable[[Any], int]
    share: float = 1.0


def _first(levels: Levels, most: int) -> tuple[Levels, float]:
    part = levels[:most]
    return part, part.size / levels.size


def ours(layout: str, code: str, effort: int = 1) -> Callable[[Levels, int], Rival]:
    """Return the builder of this library's messages, header and checksums included."""

    def build(levels: Levels, num_levels: int) -> Rival:
        import qsgd_lab as ql
        from qsgd_lab.partition import partition

        parts = partition(levels.size)
        norms = np.ones(parts.num_buckets, np.float32)
        quantized = ql.QuantizedGradient(levels, norms, num_levels, "l2", parts, levels.shape)
        return Rival(
            lambda: ql.encode(quantized, code, layout, effort=effort), lambda m: ql.decode(m).levels, len
        )

    return build


def naive_loop(levels: Levels, num_levels: int) -> Rival:
    """Write and read dense omega codewords bit by bit in a Numba loop, as most published coders do."""
    from qsgd_lab.bench.naive_omega import read_levels, write_levels

    part, share = _first(levels, 2**20)
    stream = np.zeros(4 * part.size + 8, np.uint8)
    received = np.empty(part.size, np.int8)

    def encode() -> NDArray[np.uint8]:
        stream[:] = 0
        return stream[: -(-write_levels(part, stream) // 8)]

    def decode(_: Any) -> Levels:
        read_levels(stream, received)
        return received

    del num_levels
    return Rival(encode, decode, len, share)


def compintpy(code: str) -> Callable[[Levels, int], Rival]:
    """Return the builder for compintpy, which maps signs by zigzag instead of sending them."""

    def build(levels: Levels, num_levels: int) -> Rival:
        elias = import_module("compintpy.elias")

        del num_levels
        coder = getattr(elias, f"Elias{code.capitalize()}")(1, True)
        part, share = _first(levels.astype(np.int32), 2**21)
        return Rival(
            lambda: coder.compress(part), lambda data: coder.decompress(data, part.size, np.int32), len, share
        )

    return build


def bitarray(levels: Levels, num_levels: int) -> Rival:
    """Encode lists of levels by a dictionary of dense omega codewords with bitarray."""
    package = import_module("bitarray")

    from qsgd_lab.coding.tables import spell_level

    words = {
        q: package.bitarray(spell_level(q, "dense", "omega")) for q in range(-num_levels, num_levels + 1)
    }
    tree = package.decodetree(words)
    part, share = _first(levels, 2**20)
    listed = part.tolist()

    def encode() -> Any:
        bits = package.bitarray(endian="little")
        bits.encode(words, listed)
        return bits

    return Rival(encode, lambda bits: list(bits.decode(tree)), lambda bits: -(-len(bits) // 8), share)


def zstandard(level: int) -> Callable[[Levels, int], Rival]:
    """Return the builder for Zstandard at a compression level, of the levels' bytes."""

    def build(levels: Levels, num_levels: int) -> Rival:
        zstd = import_module("zstandard")

        del num_levels
        raw = levels.tobytes()
        coder, decoder = zstd.ZstdCompressor(level=level), zstd.ZstdDecompressor()
        return Rival(
            lambda: coder.compress(raw), lambda data: np.frombuffer(decoder.decompress(data), np.int8), len
        )

    return build


def constriction(levels: Levels, num_levels: int) -> Rival:
    """Code the levels with constriction's range coder under their own frequencies: the entropy, nearly."""
    package = import_module("constriction")

    part, share = _first(levels, 2**20)
    symbols = part.astype(np.int32) + num_levels
    counts = np.bincount(symbols, minlength=2 * num_levels + 1)
    model = package.stream.model.Categorical((counts + 1e-9) / (counts + 1e-9).sum(), perfect=False)

    def encode() -> Any:
        coder = package.stream.queue.RangeEncoder()
        coder.encode(symbols, model)
        return coder.get_compressed()

    def decode(data: Any) -> Any:
        return package.stream.queue.RangeDecoder(data).decode(model, part.size) - num_levels

    return Rival(encode, decode, lambda data: 4 * len(data), share)


OURS: dict[str, Callable[[Levels, int], Rival]] = {
    "dense omega": ours("dense", "omega"),
    "dense gamma": ours("dense", "gamma"),
    "sparse omega": ours("sparse", "omega"),
    "fixed": ours("fixed", "auto"),
    "ranged": ours("ranged", "auto", effort=0),
    "ranged, classes": ours("ranged", "auto", effort=1),
}

#: Name -> builder. Adding a row adds a choice to ``qsgd-lab bench --against``.
RIVALS: dict[str, Callable[[Levels, int], Rival]] = {
    "naive": naive_loop,
    "compintpy": compintpy("omega"),
    "compintpy-gamma": compintpy("gamma"),
    "bitarray": bitarray,
    "zstandard": zstandard(1),
    "zstandard-3": zstandard(3),
    "constriction": constriction,
}

#: Rival -> the package that it needs, for those that need one.
PACKAGES = {
    "compintpy": "compintpy",
    "compintpy-gamma": "compintpy",
    "bitarray": "bitarray",
    "zstandard": "zstandard",
    "zstandard-3": "zstandard",
    "constriction": "constriction",
}


def absent_packages(names: Iterable[str]) -> dict[str, str]:
    """Return the rivals among `names` whose package cannot be imported, each with that package."""
    return {name: PACKAGES[name] for name in names if name in PACKAGES and not _is_usable(PACKAGES[name])}


def _is_usable(package: str) -> bool:
    try:
        import_module("compintpy.elias" if package == "compintpy" else package)
    except ImportError:
        return False
    return True


def grace(gradient: Any, num_levels: int) -> Callable[[], Any]:
    """Return QSGD as GRACE's torch compressor does it: one norm, a uniform tensor, eager operations."""
    import torch

    tensor = torch.from_numpy(gradient)

    def run() -> Any:
        norm = tensor.norm()
        scaled = num_levels / norm * tensor.abs()
        lower = scaled.floor()
        up = (torch.empty_like(tensor).uniform_() < scaled - lower).float()
        return ((lower + up) * tensor.sign()).to(torch.int8), norm

    return run


def bucketed(gradient: Any, num_levels: int, bucket_size: int = 512) -> Callable[[], Any]:
    """Return the same with a norm a bucket."""
    import torch

    tensor = torch.from_numpy(gradient[: gradient.size // bucket_size * bucket_size]).view(-1, bucket_size)

    def run() -> Any:
        norms = tensor.norm(dim=1, keepdim=True)
        scaled = tensor.abs() * (num_levels / norms)
        levels = (scaled + torch.rand_like(scaled)).floor_().clamp_(max=num_levels)
        return levels.mul_(tensor.sign()).to(torch.int8), norms

    return run
