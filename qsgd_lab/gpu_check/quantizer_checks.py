"""The quantizer's kernels against the CPU's, over all s, sizes off every boundary, and launch shapes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.layouts import fixed_width
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.gpu_check.cases import Check, Scope, gradient, in_host_memory, shape_for
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import NORMS
from qsgd_lab.quantization import QuantizedGradient, dequantize, quantize
from qsgd_lab.stream import Stream

Comparisons = Iterator[tuple[str, int, Any, NDArray[Any]]]
BUCKET_SIZES: tuple[int | str, ...] = (512, 100, "tensor", 4096, "model", 7)
NODES = 3


def _schemes(scope: Scope) -> Iterator[tuple[int, NDArray[np.float32], dict[str, Any]]]:
    """Yield (size, gradient, scheme): every s, with sizes, buckets, norms and roundings in turn."""
    sizes, buckets, norms = cycle(scope.sizes), cycle(BUCKET_SIZES), cycle(NORMS)
    for number, s in enumerate(scope.levels):
        size = next(sizes)
        cut = size // 3
        scheme = {
            "levels": s,
            "bucket_size": next(buckets),
            "norm": next(norms) if number % 5 else "l2",
            "rounding": "nearest" if number % 11 == 10 else "stochastic",
            "tensor_sizes": (cut, 0, size - cut) if number % 2 else (size,),
        }
        yield size, gradient(size, number), scheme


def _on_device(x: NDArray[Any], scope: Scope) -> Any:
    import torch

    return torch.from_numpy(np.array(x)).to(scope.device)


def quantizes(scope: Scope) -> Comparisons:
    """Levels, norms and values are the CPU's."""
    for number, (size, x, scheme) in enumerate(_schemes(scope)):
        expected = quantize(x, seed=number, **scheme)
        with launch_shape(*shape_for(number, size)):
            q = quantize(_on_device(x, scope), seed=number, backend="cuda", **scheme)
            values = dequantize(q, backend="cuda")
        yield f"levels of {size} under {scheme}", size, q.levels, expected.levels
        yield f"norms of {size} under {scheme}", size, q.norms, expected.norms
        yield f"values of {size} under {scheme}", size, values, dequantize(expected)


def packs(scope: Scope) -> Comparisons:
    """Packed words hold the CPU's levels, and unpack to its values."""
    for number, (size, x, scheme) in enumerate(_schemes(scope)):
        expected = quantize(x, seed=number, **scheme)
        with launch_shape(*shape_for(number, size)):
            words, norms, values = packed(_on_device(x, scope), expected, number, scheme["rounding"])
        yield f"words of {size} under {scheme}", size, words, _words(expected)
        yield f"norms of {size} under {scheme}", size, norms, expected.norms
        yield f"values of {size} under {scheme}", size, values, dequantize(expected)


def packed(x: Any, like: QuantizedGradient, seed: int, rounding: str) -> tuple[Any, Any, Any]:
    """Return (words as int32, norms, values) of a device gradient, quantized, packed and unpacked."""
    from qsgd_lab.kernels.cuda.device import context_of, device_view, flat_device_reals
    from qsgd_lab.kernels.cuda.messages.fixed_width import (
        launch_quantize_pack,
        launch_unpack_dequantize,
        packed_words,
    )
    from qsgd_lab.kernels.cuda.rows import row_tables

    context, width = context_of(x), fixed_width(like.num_levels)
    tables = row_tables(like.partition, context)
    words = context.empty(packed_words(len(like), width), np.int32)
    norms = context.empty(like.partition.num_buckets, np.float32)
    values = context.empty(len(like), np.float32)
    word_view, norm_view = device_view(words, np.int32).view(np.uint32), device_view(norms, np.float32)
    kind, key = NORMS.index(like.norm), Stream(seed=seed).kernel_key()
    launch_quantize_pack(
        context,
        tables,
        flat_device_reals(x),
        key,
        kind,
        rounding == "stochastic",
        like.num_levels,
        width,
        word_view,
        norm_view,
    )
    view = device_view(values, np.float32)
    launch_unpack_dequantize(context, tables, word_view, width, norm_view, like.num_levels, view)
    return words, norms, values


def _words(quantized: QuantizedGradient) -> NDArray[np.int32]:
    """Return the packed levels by NumPy: bits of two's complement, lowest first."""
    width = fixed_width(quantized.num_levels)
    bits = (quantized.levels.astype(np.int64)[:, None] >> np.arange(width)) & 1
    flat = np.zeros(-(-bits.size // 32) * 32, np.uint8)
    flat[: bits.size] = bits.reshape(-1)
    words: NDArray[np.int32] = np.packbits(flat, bitorder="little").view(np.int32)
    return words


def accumulates(scope: Scope) -> Comparisons:
    """Means, residuals and counts of several nodes are the CPU's."""
    for number, (size, x, scheme) in enumerate(_schemes(scope)):
        sizes = scheme.pop("tensor_sizes")
        with np.errstate(all="ignore"):
            sent = np.stack([np.roll(x, node) for node in range(NODES)])
            kept = np.stack([np.roll(x, 5 * node) * np.float32(0.25) for node in range(NODES)])
        results = []
        for device in (False, True):
            compressor = QSGD(**scheme, backend="cuda" if device else "auto")
            g, r, mean = (np.array(sent), np.array(kept), np.zeros(size, np.float32))
            if device:
                g, r, mean = (_on_device(array, scope) for array in (g, r, mean))
            tally, state = Ledger(), compressor.init_nodes(NODES, Layout.of(size, sizes))
            with launch_shape(*shape_for(number, size)), np.errstate(all="ignore"):
                compressor.mean(NodeRows(g, r), state, Stream(number), mean, tally)
            results.append((mean, r, np.array(list(tally.fetch().bits.values()))))
        for what, expected, actual in zip(("mean", "residuals", "counts"), *results, strict=True):
            yield f"{what} of {size} under {scheme}", size, actual, in_host_memory(expected)


def repeats(scope: Scope) -> Comparisons:
    """Give a large gradient's bits, and the same bits under every launch shape, again and again."""
    import torch

    x = gradient(scope.large, 2)
    device_x = _on_device(x, scope)
    for s, bucket_size in ((7, 512), (127, "model")):
        expected = quantize(x, levels=s, bucket_size=bucket_size)
        first: list[Any] = []
        for number in range(scope.repeats):
            with launch_shape(*shape_for(number, scope.large)):
                q = quantize(device_x, levels=s, bucket_size=bucket_size, backend="cuda")
                found = [q.levels, q.norms, dequantize(q, backend="cuda")]
                found.append(packed(device_x, expected, 0, "stochastic")[0])
            if number == 0:
                first = found
                hosts = (expected.levels, expected.norms, dequantize(expected), _words(expected))
                for what, one, host in zip(("levels", "norms", "values", "words"), found, hosts, strict=True):
                    yield f"{what} of {scope.large}", scope.large, one, host
            else:  # compared on the device: nothing large is copied again
                same = [torch.equal(a, b) for a, b in zip(found, first, strict=True)]
                yield f"all of {scope.large}, time {number}", scope.large, np.array(same), np.full(4, True)


CHECKS: list[tuple[str, Check]] = [
    ("quantize and dequantize", quantizes),
    ("pack and unpack", packs),
    ("quantize, decode, average and count", accumulates),
    ("repeated under other launch shapes", repeats),
]
