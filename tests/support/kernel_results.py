"""Results of the CPU kernels for small inputs, as digests by name; as a script, it writes them as JSON."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import qsgd_lab as ql
from qsgd_lab.coding.elias import read_integers, write_integers
from qsgd_lab.compressors.methods.qsgd import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.kernels.crc32c import crc32c_after
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.wire.kinds.sparse import BITMAP, FIXED, RICE, IndexCode, SparseValues

CHUNK = 32  # so that few coordinates are chunks enough for the loops that decode eight of them in turn
CODES = ("gamma", "delta", "omega")


def results() -> dict[str, str]:
    """Return the digest of every result by its name."""
    return {name: _digest(arrays) for parts in (_quantized, _messages, _others) for name, arrays in parts()}


def _digest(arrays: tuple[Any, ...]) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _gradient(size: int, scale: float = 1.0) -> np.ndarray:
    """Return a gradient with zeros, and with coordinates far above the others, in a fixed order."""
    x = (np.random.default_rng(7).standard_normal(size) ** 3 * scale).astype(np.float32)
    x[::11] = 0
    x[64:128] = 0  # a whole bucket of 64
    return x


def _quantized() -> Iterator[tuple[str, tuple[Any, ...]]]:
    for s in (1, 7, 100, 30000):
        for norm, rounding, bucket in (
            ("l2", "stochastic", 100),
            ("l2", "nearest", "model"),
            ("max", "nearest", 7),
        ):
            q = ql.quantize(
                _gradient(700), levels=s, norm=norm, rounding=rounding, bucket_size=bucket, seed=3
            )
            yield f"quantize {s} {norm} {bucket}", (q.levels, q.norms, ql.dequantize(q))
    odd = np.float32([np.nan, 1, 1, 1e-40, 3e38, -3e38, np.inf, 0, 0])
    q = ql.quantize(odd, 3, bucket_size=3, seed=1)
    yield "quantize odd", (q.levels, q.norms)


def _messages() -> Iterator[tuple[str, tuple[Any, ...]]]:
    for s in (1, 7, 100, 300):
        q = ql.quantize(_gradient(15 * CHUNK + 5), levels=s, norm="max", bucket_size=64, seed=s)
        for layout in ("dense", "dense-signed", "sparse", "fixed"):
            for code in CODES if layout != "fixed" else CODES[:1]:
                message = ql.encode(q, code, layout, chunk_size=CHUNK)
                total = np.ones(len(q), np.float32)
                ql.add_decoded([message], total)
                parts = message, ql.decode(message).levels, ql.decode(message, 40, 99).levels, total
                yield f"{s} {layout} {code}", (*parts, ql.decode_values(message))
        fused = ql.quantize_and_encode(_gradient(300), levels=s, code="omega", layout="sparse", seed=s)
        again = ql.encode(q, version=2)
        total = np.ones(len(q), np.float32)
        ql.add_decoded([again], total)
        yield f"{s} fused", (fused, list(ql.message_sizes(q, chunk_size=CHUNK).values()))
        yield f"{s} version 2", (again, ql.decode(again).levels, total)


def _others() -> Iterator[tuple[str, tuple[Any, ...]]]:
    integers = np.uint64([1, 2, 3, 17, 2**20, 2**63, 2**64 - 1])
    for code in CODES:
        stream = write_integers(integers, code)
        yield f"integers {code}", (stream, read_integers(stream, integers.size, code))
    indices = np.arange(3, 4000, 97)
    for index in (IndexCode(FIXED), IndexCode(BITMAP), IndexCode(RICE, 6, 10)):
        message = ql.encode(SparseValues(indices, _gradient(indices.size), 4096, index))
        values = ql.decode_values(message, max_coordinates=4096)
        yield f"positions {index}", (message, ql.decode(message).indices, values)
    for s in (3, 300):
        compressor, layout = QSGD(levels=s, bucket_size=128), Layout(((300,), (217,)))
        gradients = np.stack([_gradient(517), _gradient(517, 0.1)])
        for parts in (
            (gradients, None),
            (gradients.copy(), gradients[:, ::-1].copy()),
            (None, gradients.copy()),
        ):
            out, ledger = np.empty(517, np.float32), Ledger()
            compressor.mean(NodeRows(*parts), compressor.init(layout), Stream(5, 1, 2, 3), out, ledger)
            residuals = [part for part in parts if part is not None]
            yield (
                f"mean {s} {[part is None for part in parts]}",
                (out, *residuals, list(ledger.bits.values())),
            )
    long = np.arange(40_000, dtype=np.uint8)
    yield "long checksum", (int(crc32c_after(long, 3, long.size, np.uint32(7))),)


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.stdout.write(json.dumps(results()))
