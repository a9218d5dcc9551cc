"""Speed of quantizing on a CUDA device, beside the device's copies and torch, all in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qsgd_lab.bench.device_timing import Timer, event_time
from qsgd_lab.coding.decode_sum import add_decoded, decode_values
from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.layouts import fixed_width
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.quantization import dequantize, quantize
from qsgd_lab.stream import Stream

BUCKET_SIZE = 512
NODES = 8
#: s of 1, 3 and 7 magnitude bits: 2, 4 and 8 bits a coordinate at fixed width.
LEVELS = (1, 7, 127)


@dataclass(frozen=True)
class DeviceFigure:
    """One measurement.

    Attributes
    ----------
    name : str
        Who did it.
    operation : str
    num_levels : int or None
        s; None where there is none.
    coordinates : int
    seconds : float
        Of the fastest call.
    bytes_moved : int
        That any implementation has to read and write.
    copy_fraction : float
        The rate at which those were moved, over that at which the device copies.
    """

    name: str
    operation: str
    num_levels: int | None
    coordinates: int
    seconds: float
    bytes_moved: int
    copy_fraction: float


@dataclass(frozen=True)
class _Work:
    name: str
    operation: str
    num_levels: int | None
    bytes_moved: int
    run: Callable[[], object]


def torch_qsgd(tensor: Any, num_levels: int) -> Callable[[], Any]:
    """Return QSGD with a norm a bucket in eager torch operations, on the tensor's device."""
    import torch

    rows = tensor[: tensor.numel() // BUCKET_SIZE * BUCKET_SIZE].view(-1, BUCKET_SIZE)

    def run() -> Any:
        norms = rows.norm(dim=1, keepdim=True)
        scaled = rows.abs() * (num_levels / norms)
        levels = (scaled + torch.rand_like(scaled)).floor().clamp(max=num_levels)
        return (levels * rows.sign()).to(torch.int8), norms

    return run


def measure_device(
    num_coordinates: int,
    repeats: int,
    *,
    device: str = "cuda",
    against_torch: bool = True,
    timer: Timer = event_time,
    levels: Sequence[int] = LEVELS,
) -> Iterator[DeviceFigure]:
    """Yield the copy's figure first, then everything else, each as a fraction of the copy's rate.

    Parameters
    ----------
    num_coordinates : int
        Of the gaussian gradient.
    repeats : int
        The fastest call counts.
    device : str
        Torch's name of it.
    against_torch : bool
        Measure torch's QSGD as well, eager and compiled.
    timer : Timer
    levels : sequence of int
        The s to measure.
    """
    import torch

    gradient = torch.from_numpy(np.random.default_rng(0).standard_normal(num_coordinates, dtype=np.float32))
    gradient = gradient.to(device)
    target = torch.empty_like(gradient)
    copied = 8 * num_coordinates
    seconds = timer(lambda: target.copy_(gradient), repeats)
    copy_rate = copied / seconds
    yield DeviceFigure("torch", "copy", None, num_coordinates, seconds, copied, 1.0)
    for s in levels:
        work = [*_ours(gradient, target, s), *(_torchs(gradient, s) if against_torch else [])]
        for one in work:
            seconds = timer(one.run, repeats)
            fraction = one.bytes_moved / seconds / copy_rate
            yield DeviceFigure(
                one.name, one.operation, one.num_levels, num_coordinates, seconds, one.bytes_moved, fraction
            )


def _ours(gradient: Any, target: Any, s: int) -> Iterator[_Work]:
    n = gradient.numel()
    norm_bytes = 4 * -(-n // BUCKET_SIZE)
    packed_bytes = -(-n * fixed_width(s) // 8)
    q = quantize(gradient, levels=s, bucket_size=BUCKET_SIZE, backend="cuda")
    pack, unpack = _packing(gradient, target, q)
    yield _Work("qsgd-lab", "quantize and pack", s, 4 * n + packed_bytes + norm_bytes, pack)
    yield _Work("qsgd-lab", "unpack and dequantize", s, 4 * n + packed_bytes + norm_bytes, unpack)
    yield _Work(
        "qsgd-lab",
        "quantize",
        s,
        (4 + q.levels.element_size()) * n + norm_bytes,
        lambda: quantize(gradient, levels=s, bucket_size=BUCKET_SIZE, backend="cuda"),
    )
    yield _Work(
        "qsgd-lab",
        "dequantize",
        s,
        (4 + q.levels.element_size()) * n + norm_bytes,
        lambda: dequantize(q, backend="cuda"),
    )
    yield from _codec(target, q)
    rows = gradient[: n // NODES * NODES].view(NODES, -1)
    compressor, tally = QSGD(levels=s, bucket_size=BUCKET_SIZE, backend="cuda"), Ledger()
    state = compressor.init_nodes(NODES, Layout.of(rows.shape[1]))
    mean = target[: rows.shape[1]]
    yield _Work(
        "qsgd-lab",
        f"quantize, decode, average and count {NODES} nodes",
        s,
        4 * (rows.numel() + rows.shape[1]),
        lambda: compressor.mean(NodeRows(rows), state, Stream(), mean, tally),
    )


def _codec(target: Any, q: Any) -> Iterator[_Work]:
    """Yield encoding levels, and decoding to values, under the layouts that serve many levels and few."""
    read, message = q.levels.nbytes, encode(q, "omega", "dense", backend="cuda")
    moved = 4 * len(q) + len(message)
    yield _Work(
        "qsgd-lab",
        "encode, dense omega",
        q.num_levels,
        read + len(message),
        lambda: encode(q, "omega", "dense", backend="cuda"),
    )
    yield _Work(
        "qsgd-lab", "decode, dense omega", q.num_levels, moved, lambda: decode_values(message, backend="cuda")
    )
    yield _Work(
        "qsgd-lab",
        "decode and add, dense omega",
        q.num_levels,
        4 * len(q) + moved,
        lambda: add_decoded([message], target, backend="cuda"),
    )
    sparse = encode(q, "gamma", "sparse", backend="cuda")
    moved = 4 * len(q) + len(sparse)
    yield _Work(
        "qsgd-lab",
        "encode, sparse gamma",
        q.num_levels,
        read + len(sparse),
        lambda: encode(q, "gamma", "sparse", backend="cuda"),
    )
    yield _Work(
        "qsgd-lab", "decode, sparse gamma", q.num_levels, moved, lambda: decode_values(sparse, backend="cuda")
    )


def _packing(gradient: Any, target: Any, q: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return quantize-and-pack and unpack-and-dequantize of a gradient, on buffers made beforehand."""
    from qsgd_lab.kernels.cuda.device import context_of, device_view
    from qsgd_lab.kernels.cuda.messages.fixed_width import (
        launch_quantize_pack,
        launch_unpack_dequantize,
        packed_words,
    )
    from qsgd_lab.kernels.cuda.rows import row_tables

    context, width = context_of(gradient), fixed_width(q.num_levels)
    tables = row_tables(q.partition, context)
    words = context.scratch(packed_words(len(q), width), np.uint32)
    x, values = (device_view(array, np.float32) for array in (gradient, target))
    norms = device_view(q.norms, np.float32)
    key = Stream().kernel_key()

    def pack() -> None:
        launch_quantize_pack(context, tables, x, key, 0, True, q.num_levels, width, words, norms)

    def unpack() -> None:
        launch_unpack_dequantize(context, tables, words, width, norms, q.num_levels, values)

    return pack, unpack


def _torchs(gradient: Any, s: int) -> Iterator[_Work]:
    import torch

    n = gradient.numel()
    moved = 5 * n + 4 * -(-n // BUCKET_SIZE)
    eager = torch_qsgd(gradient, s)
    yield _Work("torch, eager", "quantize", s, moved, eager)
    yield _Work("torch, compiled", "quantize", s, moved, torch.compile(eager))
