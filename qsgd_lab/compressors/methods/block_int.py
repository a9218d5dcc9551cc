"""Blocks of integers of 4 or 8 bits, flat or in two levels: what sharded training of large models sends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_device_array
from qsgd_lab.compressors.message_wire import MessageWire, is_whole
from qsgd_lab.compressors.protocol import (
    Agreed,
    Array,
    Gather,
    NodeRows,
    Rounds,
    Stateless,
)
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.kernels.arguments import BlockScheme, StreamKey
from qsgd_lab.kernels.rotation import LARGEST_FLOAT
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.key import STREAM_VERSION, Purpose, Role, purpose_key
from qsgd_lab.wire.kinds.block_integers import (
    MAX_BLOCK,
    SMOOTHER_BITS,
    WIDTHS,
    BlockIntegers,
    num_codes,
)

ROUNDINGS = ("nearest", "stochastic")
_INSIDE_BITS = 8
_NO_ROWS = np.empty((0, 0), np.float32)


def _fixed_bits(payload: BlockIntegers) -> int:
    """Return the bits of scales and codes alone."""
    n, blocks = payload.num_coordinates, -(-payload.num_coordinates // payload.block_size)
    return num_codes(n, payload.is_smooth) * payload.bits + FLOAT_BITS * blocks


class BlockIntegerWire(MessageWire):
    """Kind "block-int"; what lives on a device is copied to be packed, and only then."""

    def pack(self, payload: BlockIntegers) -> bytes:
        """Return the message."""
        if is_device_array(payload.codes):
            from qsgd_lab.kernels.cuda.device import to_host

            payload = replace(payload, codes=to_host(payload.codes), scales=to_host(payload.scales))
        return super().pack(payload)


class BlockInt(Stateless):
    """Rounds blocks of the whole gradient to integers of b bits, of which the least is not used.

    With a smoother, groups of 32 coordinates are transformed first, which spreads large ones. In two levels,
    the nodes of a machine send 8 bits to each other; then each sends its part of their mean in b bits to the
    other machines.

    Parameters
    ----------
    bits : int
        4 or 8.
    block_size : int
        At most 65536; with a smoother a multiple of 32.
    rounding : {"nearest", "stochastic"}
        Nearest is biased, and meant for error feedback.
    smoother : int
        0 or 32.
    machine : int
        Nodes a machine; 1 is flat.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Jia et al.: SDP4Bit. NeurIPS 2024. Wang et al.: ZeRO++. ICLR 2024.
    """

    wire = BlockIntegerWire("block-int", is_whole, _fixed_bits)

    def __init__(
        self,
        bits: int = 4,
        block_size: int = 128,
        rounding: str = "nearest",
        smoother: int = 32,
        machine: int = 1,
    ) -> None:
        if bits not in WIDTHS:
            raise ValueError(f"bits is {bits}; it must be 4 or 8")
        if rounding not in ROUNDINGS:
            raise ValueError(f"unknown rounding {rounding!r}; known: {', '.join(ROUNDINGS)}")
        if smoother not in (0, 1 << SMOOTHER_BITS):
            raise ValueError(f"smoother is {smoother}; it must be 0 or 32")
        if not 1 <= block_size <= MAX_BLOCK:
            raise ValueError(f"block_size is {block_size}; it must be from 1 to {MAX_BLOCK}")
        if smoother and block_size % smoother:
            raise ValueError(f"block_size is {block_size}; with a smoother it must be a multiple of 32")
        if machine < 1:
            raise ValueError(f"machine is {machine}; it must be at least 1 node")
        self.bits, self.block_size, self.rounding = bits, block_size, rounding
        self.is_smooth, self.machine = bool(smoother), machine
        self.interactive = machine > 1
        self.takes_device_arrays = machine == 1
        # Of 8 bits the error is 4e-5 on normal vectors.
        self.needs_feedback = rounding == "nearest" and bits < 8

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[BlockIntegers, Any]:
        """Return (integers and scales, state)."""
        return self._integers(gradient, self.bits, stream), state

    def _integers(
        self, gradient: Array, bits: int, stream: Stream, role: Role = Role.GRADIENT, first: int = 0
    ) -> BlockIntegers:
        if is_device_array(gradient):
            return self._integers_on_device(gradient, bits, _words_of(stream, role))
        from qsgd_lab.kernels.cpu.methods import block_integers

        x = np.ascontiguousarray(gradient, np.float32)
        n, block = x.size, self.block_size
        codes = np.empty(num_codes(n, self.is_smooth), np.int8)
        scales = np.empty(-(-n // block), np.float32)
        scratch = block_integers.open_scratch(min(block, max(1, codes.size)))
        block_integers.compress(
            x, block, first, self._scheme(bits), _words_of(stream, role), scratch, scales, codes
        )
        return BlockIntegers(codes, scales, n, bits, block, self.is_smooth)

    def _integers_on_device(self, gradient: Array, bits: int, key: StreamKey) -> BlockIntegers:
        """Return integers and scales on the gradient's device and stream, with the bits of the CPU."""
        from qsgd_lab.kernels.cuda.device import context_of, device_view, flat_device_float32
        from qsgd_lab.kernels.cuda.methods import block_integers

        context, x = context_of(gradient, "gradient"), flat_device_float32(gradient)
        codes = context.empty(num_codes(x.size, self.is_smooth), np.int8)
        scales = context.empty(-(-x.size // self.block_size), np.float32)
        views = device_view(scales, np.float32, "scales"), device_view(codes, np.int8, "codes")
        block_integers.launch_compress(context, x, self.block_size, self._scheme(bits), key, *views)
        return BlockIntegers(codes, scales, x.size, bits, self.block_size, self.is_smooth)

    def _scheme(self, bits: int) -> BlockScheme:
        return BlockScheme(np.int32(2 ** (bits - 1) - 1), self.is_smooth, self.rounding == "stochastic")

    def decompress(self, payload: BlockIntegers) -> Array:
        """Return the integers' values, where the integers live."""
        if not is_device_array(payload.codes):
            return message.dense(payload)
        from qsgd_lab.kernels.cuda.device import context_of, device_view
        from qsgd_lab.kernels.cuda.methods import block_integers

        context = context_of(payload.codes, "codes")
        out = context.empty(payload.num_coordinates, np.float32)
        views = (
            device_view(payload.codes, np.int8, "codes"),
            device_view(payload.scales, np.float32, "scales"),
        )
        values = device_view(out, np.float32, "values")
        block_integers.launch_decode(context, *views, payload.block_size, payload.is_smooth, values)
        return out

    @property
    def is_unbiased(self) -> bool:
        """True under stochastic rounding."""
        return self.rounding == "stochastic"

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return a bound for every vector, the same with and without a smoother; in two levels, None.

        With d coordinates a block and s = 2^(b-1) - 1: min(1, d / (4 s^2)) for the nearest integers, and
        (sqrt(1 + (d-1)/s^2) - 1) / 2 for stochastic rounding, but for the rounding of scales to float32.
        """
        if self.machine > 1:
            return None
        d, s = min(self.block_size, num_codes(num_coordinates, self.is_smooth)), 2 ** (self.bits - 1) - 1
        if d == 0:
            return 0.0
        bound = min(1.0, d / (4 * s * s)) if self.rounding == "nearest" else _largest_variance(d, s)
        return bound + 1e-6

    def mean(self, rows: NodeRows, states: Any, stream: Stream, out: Array, ledger: Ledger) -> Any:
        """Round, decode and average block by block, without an array of codes."""
        if is_device_array(out):
            return super().mean(rows, states, stream, out, ledger)
        from qsgd_lab.kernels.cpu.methods import block_integers

        n = out.size
        gradients, residuals = (_NO_ROWS if part is None else part for part in rows)
        if rows.shape[1:] != (n,) or residuals.shape not in ((0, 0), rows.shape):
            raise ValueError(f"rows of {rows.shape} and {residuals.shape} have no mean of {n} coordinates")
        scratch = block_integers.open_scratch(self.block_size)
        codes = np.empty(scratch.y.size, np.int8)
        scheme, words = self._scheme(self.bits), _words_of(stream, Role.GRADIENT)
        block_integers.average(gradients, residuals, self.block_size, scheme, words, scratch, codes, out)
        size = self._size(n)
        for _ in range(rows.shape[0]):
            ledger.add(size)
        return states

    def _size(self, n: int) -> Size:
        """Return the size of any payload of n coordinates, which does not depend on their values."""
        codes = np.broadcast_to(np.int8(0), (num_codes(n, self.is_smooth),))
        scales = np.broadcast_to(np.float32(0), (-(-n // self.block_size),))
        return self.wire.size(BlockIntegers(codes, scales, n, self.bits, self.block_size, self.is_smooth))

    def rounds(self, vector: Array, state: Any, stream: Stream) -> Rounds:
        """Agree in two levels: the mean of a machine in 8 bits, then that of the machines, part by part.

        A node's contribution is what it sent inside, and the error between machines, which all nodes of a
        machine share.
        """
        if self.machine == 1:
            return (yield from super().rounds(vector, state, stream))
        inside = yield Gather(self._integers(vector, _INSIDE_BITS, stream))
        nodes = len(inside)
        groups = [range(start, min(nodes, start + self.machine)) for start in range(0, nodes, self.machine)]
        own = stream.node // self.machine
        means = [self._mean_of([inside[node] for node in group]) for group in groups]
        place = stream.node - groups[own].start
        low, high = self._share(vector.size, place, len(groups[own]))
        between = yield Gather(self._integers(means[own][low:high], self.bits, stream, Role.MEAN, low))
        received = [np.concatenate([self._finite(between[node]) for node in group]) for group in groups]
        total = np.zeros(vector.size, np.float64)
        for group, values in zip(groups, received, strict=True):
            total += len(group) * values.astype(np.float64)
        mean = (total / nodes).astype(np.float32)
        with np.errstate(over="ignore"):
            sent = self._finite(inside[stream.node]) + (received[own] - means[own])
        return Agreed(mean, np.clip(sent, -LARGEST_FLOAT, LARGEST_FLOAT), state)

    def _mean_of(self, payloads: list[BlockIntegers]) -> NDArray[np.float32]:
        total = self._finite(payloads[0])
        with np.errstate(over="ignore"):
            for payload in payloads[1:]:
                total += self._finite(payload)
        if np.isinf(total).any():  # near the largest float32, where sums overflow
            wide = np.array([self._finite(payload) for payload in payloads], np.float64)
            return np.asarray(wide.mean(axis=0), np.float32)
        return total / np.float32(len(payloads))

    def _finite(self, payload: BlockIntegers) -> NDArray[np.float32]:
        """Return the values of a message, of which those beyond float32 count as its largest; a NaN stays."""
        values: NDArray[np.float32] = self.decompress(payload)
        return np.clip(values, -LARGEST_FLOAT, LARGEST_FLOAT, out=values)

    def _share(self, n: int, place: int, nodes: int) -> tuple[int, int]:
        """Return the part of the coordinates that a node of a machine sends to others: whole blocks."""
        blocks = -(-n // self.block_size)
        low, high = (min(n, blocks * i // nodes * self.block_size) for i in (place, place + 1))
        return low, high


def _words_of(stream: Stream, role: Role) -> StreamKey:
    """Return the key of the words of rounding."""
    k0, k1 = purpose_key(stream.seed, Purpose.ROUNDING, role)
    return StreamKey(*map(np.uint32, (k0, k1, stream.step, stream.tensor, stream.node, STREAM_VERSION)))


def _largest_variance(d: int, s: int) -> float:
    return (math.sqrt(1 + (d - 1) / s**2) - 1) / 2


def _label(options: Mapping[str, Any]) -> str:
    rounding = "" if options["rounding"] == "nearest" else f", {options['rounding']}"
    smoother = "" if options["smoother"] else ", no smoother"
    machine = "" if options["machine"] == 1 else f", {options['machine']} nodes a machine"
    return f"int{options['bits']}, {options['block_size']}{rounding}{smoother}{machine}"


METHOD = Method(
    "block-int",
    BlockInt,
    (
        Option("bits", int, 4, "bits of an integer, 4 or 8"),
        Option("block_size", int, 128, "coordinates that share a scale"),
        Option("rounding", str, "nearest", "how integers are chosen", choices=ROUNDINGS),
        Option("smoother", int, 32, "coordinates of a Hadamard transform before rounding, 0 or 32"),
        Option("machine", int, 1, "nodes a machine, which send 8 bits to each other; 1 is flat"),
    ),
    _label,
    summary="blocks of integers, smoothed; flat, or 8 bits inside a machine and fewer between",
    source="SDP4Bit, NeurIPS 2024; ZeRO++, ICLR 2024",
    theory="qsgd_lab.theory.methods.block_int",
    settings=tuple(
        f"block-int(bits={bits},rounding={rounding})" for rounding in ROUNDINGS for bits in (4, 8)
    ),
)
