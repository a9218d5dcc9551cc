"""The codec's kernels against the CPU's: the same messages, and the same levels, values and sums of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.decode import decode
from qsgd_lab.coding.decode_sum import add_decoded, decode_values
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.fused import quantize_and_encode
from qsgd_lab.coding.layouts import LAYOUTS
from qsgd_lab.coding.message import Message
from qsgd_lab.coding.sizes import message_sizes
from qsgd_lab.errors import MessageError
from qsgd_lab.gpu_check.cases import Check, Scope, gradient, shape_for
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.quantization import QuantizedGradient, quantize

Comparisons = Iterator[tuple[str, int, Any, NDArray[Any]]]
CHOICES = [("fixed", "auto")] + [
    (layout, code) for layout in LAYOUTS if layout != "fixed" for code in LENGTHS
]
CHUNK_SIZES = (4096, 32, 1056)
MUTANTS = 400  # for each of three messages


def _cases(scope: Scope) -> Iterator[tuple[str, int, QuantizedGradient, str, str, int]]:
    """Yield (what, size, levels, layout, code, chunk size): every s, and all else in turn.

    Norms are l2 in large buckets and max in small ones, so that levels are few here and at the top there.
    """
    sizes, choices, chunk_sizes = cycle(scope.sizes), cycle(CHOICES), cycle(CHUNK_SIZES)
    for number, s in enumerate(scope.levels):
        size, (layout, code), chunk_size = next(sizes), next(choices), next(chunk_sizes)
        dense = number % 2 == 0
        quantized = quantize(
            gradient(size, 2 * number),
            levels=s,
            bucket_size=16 if dense else "model",
            norm="max" if dense else "l2",
        )
        what = f"{size} coordinates, s = {s}, {layout} {code}, chunks of {chunk_size}"
        yield what, size, quantized, layout, code, chunk_size


def _to_device(array: Any, scope: Scope) -> Any:
    import torch

    return torch.from_numpy(np.array(array)).to(scope.device)


def _on_device(quantized: QuantizedGradient, scope: Scope) -> QuantizedGradient:
    levels, norms = (_to_device(array, scope) for array in (quantized.levels, quantized.norms))
    return replace(quantized, levels=levels, norms=norms)


def _bytes(message: Message | Any) -> NDArray[np.uint8]:
    return np.asarray(message).view(np.ndarray)


def codes(scope: Scope) -> Comparisons:
    """Messages are the CPU's, byte for byte, and decode to what was sent, whole and in part."""
    for number, (what, size, quantized, layout, code, chunk_size) in enumerate(_cases(scope)):
        device = _on_device(quantized, scope)
        with launch_shape(*shape_for(number, size)):
            message = encode(device, code, layout, chunk_size=chunk_size, backend="cuda")
            received = decode(message, backend="cuda")
            low, high = size // 3, size - size // 5
            part = decode(message, low, high, backend="cuda")
        expected = encode(quantized, code, layout, chunk_size=chunk_size)
        yield f"message of {what}", size, message, _bytes(expected)
        yield f"levels of {what}", size, received.levels, quantized.levels
        yield f"norms of {what}", size, received.norms, quantized.norms
        yield f"levels {low}:{high} of {what}", size, part.levels, quantized.levels[low:high]


def measures(scope: Scope) -> Comparisons:
    """Exact sizes without coding are the CPU's, under every layout and code."""
    for number, (what, size, quantized, _, _, chunk_size) in enumerate(_cases(scope)):
        device = _on_device(quantized, scope)
        with launch_shape(*shape_for(number, size)):
            found = message_sizes(device, chunk_size=chunk_size, backend="cuda")
        expected = message_sizes(quantized, chunk_size=chunk_size)
        in_order = [np.array([sizes[key] for key in expected]) for sizes in (found, expected)]
        yield f"sizes of {what}", size, in_order[0], in_order[1]


def decodes_to_values(scope: Scope) -> Comparisons:
    """Values of a message, and what they make of a sum, are the CPU's."""
    for number, (what, size, quantized, layout, code, chunk_size) in enumerate(_cases(scope)):
        message = encode(quantized, code, layout, chunk_size=chunk_size)
        other = encode(quantized, "gamma", "dense")
        sent = [_to_device(one, scope) for one in (message, other, message)]
        total, expected = _to_device(np.ones(size, np.float32), scope), np.ones(size, np.float32)
        with launch_shape(*shape_for(number, size)), np.errstate(all="ignore"):
            values = decode_values(sent[0], backend="cuda")
            add_decoded(sent, total, backend="cuda")
        add_decoded([message, other, message], expected)
        yield f"values of {what}", size, values, decode_values(message)
        yield f"sum of {what}", size, total, expected


def fuses(scope: Scope) -> Comparisons:
    """Gradients become their messages of fixed width in one call, and are read at any address."""
    for number, (size, s) in enumerate(zip(cycle(scope.sizes), scope.levels, strict=False)):
        x, chunk_size = gradient(size, 2 * number), CHUNK_SIZES[number % len(CHUNK_SIZES)]
        scheme: dict[str, Any] = {
            "levels": s,
            "bucket_size": (512, 100)[number % 2],
            "chunk_size": chunk_size,
        }
        expected = quantize_and_encode(x, None, "auto", "fixed", **scheme)
        with launch_shape(*shape_for(number, size)), np.errstate(all="ignore"):
            device_x = _to_device(x, scope)
            message = quantize_and_encode(device_x, None, "auto", "fixed", backend="cuda", **scheme)
            shifted = _to_device(np.concatenate([np.zeros(3, np.uint8), _bytes(expected)]), scope)[3:]
            values = decode_values(shifted, backend="cuda")
        what = f"{size} coordinates, s = {s}, chunks of {chunk_size}"
        yield f"fixed message of {what}", size, message, _bytes(expected)
        yield f"values of {what} from an odd address", size, values, decode_values(expected)


def refuses(scope: Scope) -> Comparisons:
    """Damaged payloads under right checksums have the outcome that they have on the CPU."""
    random_ = random.Random(0)
    size = min(scope.sizes[-1], 20_000)
    mutants = min(MUTANTS, size // 30)
    for layout, code in (("dense", "omega"), ("sparse", "gamma"), ("fixed", "auto")):
        quantized = quantize(gradient(size, 0), levels=7, bucket_size=64)
        message = encode(quantized, code, layout)
        found, expected = [], []
        for _ in range(mutants):
            damaged = _damaged(message, random_)
            expected.append(_outcome(damaged, "cpu"))
            found.append(_outcome(_to_device(damaged, scope), "cuda"))
        yield f"{mutants} mutants, {layout}", size, np.array(found), np.array(expected)


def _damaged(message: Message, random_: random.Random) -> NDArray[np.uint8]:
    """Return a message with a few bits of its payload changed and its checksums corrected."""
    from qsgd_lab.coding.header import HEADER_BYTES, crc32c
    from qsgd_lab.coding.message import open_frame

    data, frame = np.array(message), open_frame(message)
    payload = data.size - frame.payload.size
    for _ in range(random_.choice([1, 2, 5])):
        data[random_.randrange(payload, data.size - 8)] ^= 1 << random_.randrange(8)
    checksums = [
        crc32c(data[payload + frame.starts[i] : payload + frame.starts[i + 1]])
        for i in range(frame.header.num_chunks)
    ]
    index, norms = frame.index, frame.index.norms.nbytes
    at = HEADER_BYTES + 8 * (len(index.partition.tensor_sizes) + len(index.shape)) + norms
    data[at : at + 4 * len(checksums)] = np.array(checksums, "<u4").view(np.uint8)
    header = replace(frame.header, index_crc=crc32c(data[HEADER_BYTES:payload]))
    data[:HEADER_BYTES] = np.frombuffer(header.pack(), np.uint8)
    return data


def _outcome(message: Any, backend: str) -> int:
    """Return 0 if a message is refused, else a checksum of its levels."""
    from qsgd_lab.coding.header import crc32c
    from qsgd_lab.gpu_check.cases import in_host_memory

    try:
        return crc32c(in_host_memory(decode(message, backend=backend).levels)) | 1 << 32
    except MessageError:
        return 0


def repeats(scope: Scope) -> Comparisons:
    """Give a large gradient's message, levels and values, and the same again under every launch shape."""
    import torch

    for layout, code, s in (("dense", "omega", 7), ("sparse", "gamma", 1)):
        quantized = quantize(gradient(scope.large, 2), levels=s)
        device = _on_device(quantized, scope)
        expected = _bytes(encode(quantized, code, layout))
        values = decode_values(expected)
        first: list[Any] = []
        for number in range(scope.repeats):
            with launch_shape(*shape_for(number, scope.large)), np.errstate(all="ignore"):
                message = encode(device, code, layout, backend="cuda")
                levels = decode(message, backend="cuda").levels
                found = [message, levels, decode_values(message, backend="cuda")]
            if number == 0:
                first = found
                hosts = (expected, quantized.levels, values)
                for what, one, host in zip(("message", "levels", "values"), found, hosts, strict=True):
                    yield f"{what} of {scope.large}, {layout}", scope.large, one, host
            else:
                same = [
                    torch.equal(a.view(torch.uint8), b.view(torch.uint8))
                    for a, b in zip(found, first, strict=True)
                ]
                yield f"all of {scope.large}, time {number}", scope.large, np.array(same), np.full(3, True)


CHECKS: list[tuple[str, Check]] = [
    ("encode and decode", codes),
    ("sizes without coding", measures),
    ("values and sums of messages", decodes_to_values),
    ("fixed messages in one call, odd addresses", fuses),
    ("damaged messages", refuses),
    ("messages repeated under other launch shapes", repeats),
]
