"""Compilation of the CPU's kernels in advance: everything that has kernels is called on small inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qsgd_lab as ql
from qsgd_lab.coding.elias import CODES, read_integers, write_integers
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.mean import divide_sum, end_mean
from qsgd_lab.coding.rest import RestEncoder
from qsgd_lab.compressors.protocol import Gather, Layout, NodeRows, Rounds
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.kernels.crc32c import crc32c_after
from qsgd_lab.ledger import Ledger
from qsgd_lab.partition import Partition
from qsgd_lab.stream import Stream

#: A few chunks, the last one short.
NUM_COORDINATES = 10_000
#: Levels and the type that holds them.
ALL_LEVELS = {7: "int8", 300: "int16"}
#: Besides every method at its defaults: one norm for all, ternary levels, many coordinates, few coordinates.
OTHER_SPECS = (
    "qsgd(bits=2,norm=max,bucket_size=model)",
    "qsgd(bits=1,norm=max,bucket_size=tensor)",
    "qsgd(bits=8)",
    "top-k(fraction=0.5)",
    "top-k(fraction=0.0005)",
)


def warm_up() -> Iterator[str]:
    """Compile kernel after kernel; yield, before each, what it is, in words."""
    gradient = np.random.default_rng(0).standard_normal(NUM_COORDINATES, dtype=np.float32)
    for levels, kind in ALL_LEVELS.items():
        yield f"quantizer, {kind} levels"
        quantized = ql.quantize(gradient, levels=levels)
        ql.dequantize(quantized)
        yield f"encoder, {kind} levels"
        messages = [ql.encode(quantized), ql.encode(quantized, version=2)]
        messages.append(ql.encode(quantized, layout="ranged"))
        ql.message_sizes(quantized)
        ql.quantize_and_encode(gradient, levels=levels)
        ql.quantize_and_encode(gradient, levels=levels, code="omega", layout="dense")
        _send_rest(gradient, quantized.partition, levels)
        yield f"decoder, {kind} levels"
        for message in map(bytes, messages):
            ql.decode(message)
            ql.decode_values(message)
            ql.add_decoded([message], np.zeros_like(gradient))
        ql.decode(ql.encode(ql.quantize(0 * gradient, levels=levels)))
    yield "classes of ranged blocks"
    ql.encode(ql.quantize(np.resize(gradient, 1 << 17), levels=7), layout="ranged")
    yield "checksums, integers"
    crc32c_after(np.zeros(100, np.uint8), 0, 100, np.uint32(0))
    integers = np.arange(1, 100)
    for code in CODES:
        read_integers(write_integers(integers, code), integers.size, code)
    for spec in (*_listed(), *OTHER_SPECS):
        yield spec
        _use(COMPRESSORS.parse(spec).make(), gradient)


def _send_rest(gradient: NDArray[np.float32], parts: Partition, levels: int) -> None:
    """Send a gradient with what was not sent before, and end a mean with the message, as ranks do."""
    encoder = RestEncoder(parts, levels, DEFAULT_CHUNK_SIZE, "max", stochastic=True)
    message = np.empty(encoder.num_bytes, np.uint8)
    one, other, rest, values = np.array([gradient, gradient, gradient, gradient])
    encoder.encode((one, other, rest, values), Stream().kernel_key(), message)
    end_mean(message, parts.tensor_sizes, values, 2)
    divide_sum(values, 2)


def _listed() -> list[str]:
    methods = COMPRESSORS.methods().items()
    return [f"{name}(qsgd)" if method.is_wrapper else name for name, method in methods if method.is_listed]


def _use(compressor: Any, gradient: NDArray[np.float32]) -> None:
    layout = Layout(((100, gradient.size // 100),))  # a matrix: PowerSGD leaves vectors as they are
    if compressor.interactive:
        _play(compressor.rounds(gradient, compressor.init(layout), Stream()))
        return
    payload, _ = compressor.compress(gradient, compressor.init(layout), Stream())
    compressor.wire.size(payload)
    compressor.decompress(compressor.wire.unpack(compressor.wire.pack(payload), layout))
    rows = np.stack([gradient, gradient])
    states = compressor.init_nodes(len(rows), layout)
    compressor.mean(NodeRows(rows), states, Stream(), np.empty_like(gradient), Ledger())


def _play(rounds: Rounds) -> None:
    """Answer the rounds of one node that is alone."""
    answer: Any = None
    try:
        while True:
            move = rounds.send(answer)
            answer = [move.payload] if isinstance(move, Gather) else move.array
    except StopIteration:
        return
