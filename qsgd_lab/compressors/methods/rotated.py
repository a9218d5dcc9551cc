"""Rotated blocks: EDEN (DRIVE at one bit), and stochastic rounding of rotated coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_device_array
from qsgd_lab.compressors.message_wire import MessageWire, is_whole
from qsgd_lab.compressors.protocol import Array, NodeRows, Stateless
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.kernels import rotation
from qsgd_lab.kernels.arguments import RotationScheme
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kinds.rotated import MAX_BLOCK_BITS, Rotated, streams_of

#: E||Q(v) - v||^2 / ||v||^2 of the scale of least error is at most this for every v, with any block size and
#: rounds, by bits: `qsgd_lab.theory.methods.eden.least_error_bound`, rounded up.
LEAST_ERROR_BOUNDS = {1: 0.5, 2: 0.3064, 3: 0.09665, 4: 0.02746, 8: 0.0002218}
#: The same of the unbiased scale: `qsgd_lab.theory.methods.eden_bound.unbiased_error_bound`, rounded up.
UNBIASED_BOUNDS = {1: 2.0, 2: 0.467, 3: 0.1131, 4: 0.034, 8: 0.00035}
#: Coordinates of a block that a device rotates, in shared memory; larger blocks go through host memory.
MOST_ON_DEVICE = 4096
_NO_ROWS = np.empty((0, 0), np.float32)
_NO_BOOK = np.empty(0, np.float32)


def _fixed_bits(payload: Rotated) -> int:
    """Return the bits of scales and codes alone."""
    n, block = payload.num_coordinates, payload.block_size
    numbers = rotation.block_sizes(n, block)[0] * (1 if payload.offsets is None else 2)
    return rotation.padded_size(n, block) * payload.bits + FLOAT_BITS * numbers


class RotatedWire(MessageWire):
    """Kind "rotated"; what lives on a device is copied to be packed, and only then."""

    def pack(self, payload: Rotated) -> bytes:
        """Return the message."""
        if is_device_array(payload.codes):
            from qsgd_lab.kernels.cuda.device import to_host

            offsets = None if payload.offsets is None else to_host(payload.offsets)
            codes, scales = to_host(payload.codes), to_host(payload.scales)
            payload = replace(payload, codes=codes, scales=scales, offsets=offsets)
        return super().pack(payload)


class RotatedBlocks(Stateless):
    """What EDEN and rotated stochastic rounding share; blocks are cut from the whole gradient.

    The last block is padded with zeros to a power of two. Signs are drawn for each node and step, so that
    the errors of nodes are independent and average out.

    Parameters
    ----------
    bits : int
        Of a code.
    kind : int
        Of the scale or rounding, as kernels number them.
    block_size : int
        A power of two, at most 65536.
    rounds : int
        Rounds of signs and Hadamard transform, 1 or 2.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """

    wire = RotatedWire("rotated", is_whole, _fixed_bits)

    def __init__(self, bits: int, kind: int, block_size: int, rounds: int) -> None:
        if block_size < 1 or block_size & (block_size - 1) or block_size > 1 << MAX_BLOCK_BITS:
            most = 1 << MAX_BLOCK_BITS
            raise ValueError(f"block_size is {block_size}; it must be a power of two, at most {most}")
        if rounds not in (1, 2):
            raise ValueError(f"rounds is {rounds}; it must be 1 or 2")
        self.bits, self.kind, self.block_size, self.num_rounds = bits, kind, block_size, rounds
        self.takes_device_arrays = block_size <= MOST_ON_DEVICE

    @property
    def _is_uniform(self) -> bool:
        return self.kind == rotation.STOCHASTIC

    @property
    def _scheme(self) -> RotationScheme:
        if self._is_uniform:
            return RotationScheme(self.num_rounds, self.kind, self.bits, _NO_BOOK, np.empty(0))
        book, middles = rotation.book(self.bits), rotation.middles(self.bits)
        return RotationScheme(self.num_rounds, self.kind, self.bits, book, middles)

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Rotated, Any]:
        """Return (codes and scales, state)."""
        if is_device_array(gradient):
            return self._on_device(gradient, Key(**stream._asdict())), state
        from qsgd_lab.kernels.cpu.methods import rotated

        n, block, key = gradient.size, self.block_size, Key(**stream._asdict())
        blocks = rotation.block_sizes(n, block)[0]
        codes = np.empty(rotation.padded_size(n, block), np.int8)
        scales, offsets = np.empty((2, blocks), np.float32)
        scratch = rotated.open_scratch(min(block, codes.size))
        rotated.compress(gradient, block, 0, self._scheme, streams_of(key), scratch, scales, offsets, codes)
        own = offsets if self._is_uniform else None
        return Rotated(codes, scales, own, n, self.bits, block, self.num_rounds, key), state

    def decompress(self, payload: Rotated) -> Array:
        """Return the codes' values, rotated back, where the codes live."""
        return values_on_device(payload) if is_device_array(payload.codes) else message.dense(payload)

    def _on_device(self, gradient: Array, key: Key) -> Rotated:
        """Return codes and scales on the gradient's device and stream, with the bits of the CPU."""
        from qsgd_lab.kernels.cuda.device import context_of, device_view, flat_device_float32
        from qsgd_lab.kernels.cuda.methods import rotated

        context, x = context_of(gradient, "gradient"), flat_device_float32(gradient)
        n, block = x.size, self.block_size
        blocks, _, last = rotation.block_sizes(n, block)
        codes = context.empty(rotation.padded_size(n, block), np.int8)
        scales, offsets = (context.empty(blocks, np.float32) for _ in range(2))
        views = [device_view(one, np.float32, "scales") for one in (scales, offsets)]
        streams = streams_of(key)
        all_codes = device_view(codes, np.int8, "codes")
        rotated.launch_compress(
            context, x, (block, last), self._scheme, streams, views[0], views[1], all_codes
        )
        own = offsets if self._is_uniform else None
        return Rotated(codes, scales, own, n, self.bits, block, self.num_rounds, key)

    def mean(self, rows: NodeRows, states: Any, stream: Stream, out: Array, ledger: Ledger) -> Any:
        """Compress, decode and average block by block, without an array of codes."""
        if is_device_array(out):
            return super().mean(rows, states, stream, out, ledger)
        from qsgd_lab.kernels.cpu.methods import rotated

        n, block, key = out.size, self.block_size, Key(**stream._asdict())
        gradients, residuals = (_NO_ROWS if part is None else part for part in rows)
        if rows.shape[1:] != (n,) or residuals.shape not in ((0, 0), rows.shape):
            raise ValueError(f"rows of {rows.shape} and {residuals.shape} have no mean of {n} coordinates")
        largest = min(block, rotation.padded_size(n, block))
        table = _NO_BOOK if self._is_uniform else rotation.table(self.bits)
        codes, scratch = np.empty(largest, np.int8), rotated.open_scratch(largest)
        rotated.average(
            gradients, residuals, block, self._scheme, table, streams_of(key), scratch, codes, out
        )
        size = self._size(n, key)
        for _ in range(rows.shape[0]):
            ledger.add(size)
        return states

    def _size(self, n: int, key: Key) -> Size:
        """Return the size of any payload of n coordinates, which does not depend on their values."""
        blocks = rotation.block_sizes(n, self.block_size)[0]
        codes = np.broadcast_to(np.int8(0), (rotation.padded_size(n, self.block_size),))
        scales = np.broadcast_to(np.float32(0), (blocks,))
        own = scales if self._is_uniform else None
        payload = Rotated(codes, scales, own, n, self.bits, self.block_size, self.num_rounds, key)
        return self.wire.size(payload)


class EDEN(RotatedBlocks):
    """Rotates blocks and sends of each coordinate the nearest centroid of a normal distribution.

    Parameters
    ----------
    bits : int
        1 (which is DRIVE), 2, 3, 4 or 8.
    scale : {"unbiased", "mse", "norm"}
        |v|^2 / <c, y>, which gives <Q(v), v> = |v|^2 for every rotation; of least error; or with |Q(v)| = |v|
        but for the padding. Error feedback takes "mse".
    block_size, rounds : int
        See `RotatedBlocks`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    A scale is stored in float32 and multiplies transforms that are not normalised: in blocks of e coordinates
    that is about |v| / e^((rounds + 1) / 2). It is a normal number, and <Q(v), v> = |v|^2 holds to 1e-6, from
    |v| = 2^-126 e^((rounds + 1) / 2) on, which is 3.1e-33 for e = 4096 in two rounds. Below, the scale is
    rounded to a multiple of 2^-149, and blocks that are shorter by another 2^-24 decode to 0.

    The unbiased scale is unbiased for a uniformly random rotation. A Hadamard transform with random signs is
    none: (1, 1/2, 0, ...) in one round at one bit decodes to (1.25, 0, ...) whatever the signs are. With two
    rounds the bias falls with the block size (`qsgd_lab.theory.methods.eden`).

    References
    ----------
    Vargaftik et al.: DRIVE. NeurIPS 2021. Vargaftik et al.: EDEN. ICML 2022.
    """

    is_unbiased = False  # unbiased in the limit of large blocks only

    def __init__(
        self, bits: int = 2, scale: str = "unbiased", block_size: int = 4096, rounds: int = 2
    ) -> None:
        if bits not in rotation.BOOK_BITS:
            raise ValueError(f"bits is {bits}; it must be one of {', '.join(map(str, rotation.BOOK_BITS))}")
        if scale not in rotation.SCALES:
            raise ValueError(f"unknown scale {scale!r}; known: {', '.join(rotation.SCALES)}")
        super().__init__(bits, rotation.SCALES.index(scale), block_size, rounds)

    def variance_factor(self, num_coordinates: int) -> float:
        """Return a bound for every vector; the limit of large blocks is D / (1 - D), or D at the least."""
        least, unbiased = LEAST_ERROR_BOUNDS[self.bits], UNBIASED_BOUNDS[self.bits]
        bounds = {rotation.UNBIASED: unbiased, rotation.LEAST_ERROR: least, rotation.MATCHED_NORM: 2 * least}
        return bounds[self.kind] if num_coordinates else 0.0


class RotatedStochastic(RotatedBlocks):
    """Rotates blocks and rounds coordinates at random to 2^bits levels between their minimum and maximum.

    Unbiased for every vector and every rotation.

    Parameters
    ----------
    bits : int
        1 to 8.
    block_size, rounds : int
        See `RotatedBlocks`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Suresh, Yu, Kumar, McMahan: Distributed mean estimation with limited communication. ICML 2017.
    """

    is_unbiased = True

    def __init__(self, bits: int = 4, block_size: int = 4096, rounds: int = 2) -> None:
        if not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits}; it must be from 1 to 8")
        super().__init__(bits, rotation.STOCHASTIC, block_size, rounds)

    def variance_factor(self, num_coordinates: int) -> float:
        """Return a bound for every vector: M / (2^bits - 1 - 1/1024)^2 with M >= E max_j d y_j^2 / |y|^2.

        M is the least over t of (log d - log(1 - 2 t) / 2) / t, since the exponential moments of signed sums
        are at most those of a normal number; and at most d.
        """
        if num_coordinates == 0:
            return 0.0
        size = min(self.block_size, 1 << (num_coordinates - 1).bit_length())
        t = np.arange(1, 500) / 1000
        largest = min(float(size), float(((math.log(size) - np.log1p(-2 * t) / 2) / t).min()))
        return float(largest / (2**self.bits - 1 - 1 / rotation.OFFSET_STEPS) ** 2)


def values_on_device(payload: Rotated) -> Array:
    """Return the values of codes on a device, on the same device and stream."""
    from qsgd_lab.kernels.cuda.device import context_of, device_view
    from qsgd_lab.kernels.cuda.methods import rotated

    context = context_of(payload.codes, "codes")
    out = context.empty(payload.num_coordinates, np.float32)
    is_uniform = payload.offsets is not None
    offsets = payload.offsets if is_uniform else payload.scales
    rotated.launch_decode(
        context,
        device_view(payload.codes, np.int8, "codes"),
        device_view(payload.scales, np.float32, "scales"),
        device_view(offsets, np.float32, "offsets"),
        (payload.block_size, rotation.block_sizes(payload.num_coordinates, payload.block_size)[2]),
        payload.rounds,
        _NO_BOOK if is_uniform else rotation.table(payload.bits),
        streams_of(payload.key),
        device_view(out, np.float32, "values"),
    )
    return out


_BLOCKS = (
    Option("block_size", int, 4096, "coordinates that are rotated together, a power of two up to 65536"),
    Option("rounds", int, 2, "rounds of random signs and Hadamard transform, 1 or 2"),
)


def _eden_label(options: Mapping[str, Any]) -> str:
    name = "DRIVE" if options["bits"] == 1 else f"EDEN {options['bits']} bit"
    return name if options["scale"] == "unbiased" else f"{name}, {options['scale']}"


METHODS = (
    Method(
        "eden",
        EDEN,
        (
            Option("bits", int, 2, "bits of a coordinate: 1 (DRIVE), 2, 3, 4 or 8"),
            Option("scale", str, "unbiased", "scale of a block", choices=rotation.SCALES),
            *_BLOCKS,
        ),
        _eden_label,
        summary="rotated blocks on the centroids of a normal distribution; DRIVE at one bit",
        source="Vargaftik et al., NeurIPS 2021 and ICML 2022",
        theory="qsgd_lab.theory.methods.eden",
        settings=tuple(f"eden(bits={bits})" for bits in rotation.BOOK_BITS),
    ),
    Method(
        "rotated-stochastic",
        RotatedStochastic,
        (Option("bits", int, 4, "bits of a coordinate, 1 to 8"), *_BLOCKS),
        lambda options: f"rotated stochastic {options['bits']} bit",
        summary="rotated blocks, rounded at random between their minimum and maximum",
        source="Suresh, Yu, Kumar, McMahan, ICML 2017",
        theory="qsgd_lab.theory.methods.eden",
        settings=tuple(f"rotated-stochastic(bits={bits})" for bits in (1, 2, 3, 4, 6, 8)),
    ),
)
