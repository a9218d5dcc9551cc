"""QSGD: stochastic (or nearest) rounding to s levels of a bucket's norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_device_array, is_torch
from qsgd_lab.coding.class_counts import quantized_size
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.decode import decode
from qsgd_lab.coding.decode_sum import add_decoded
from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.layout_choice import COUNTED, chunk_bits
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.message import open_frame, version_of
from qsgd_lab.coding.message_costs import costs_by_chunk, length_steps, message_costs
from qsgd_lab.compressors.protocol import Array, Compressor, Layout, NodeRows, Wire
from qsgd_lab.compressors.registry import BucketSize, Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.arguments import MessageCounter, Offsets, Quantizer, StreamKey
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import NORMS, num_classes, num_levels
from qsgd_lab.partition import Partition, partition
from qsgd_lab.quantization import QuantizedGradient, check_scheme, dequantize, level_dtype, quantize
from qsgd_lab.stream import Stream
from qsgd_lab.wire.ranged_size import can_estimate, estimated_bits, exact_bits

_NONE: Array = np.empty((0, 0), np.float32)
LAYOUTS = ("auto", "ranged")
CODED_EVERY = 16  #: Steps of which one has the exact sizes of ranged messages; the others are estimated.


class QuantizedWire(Wire[QuantizedGradient]):
    """Wire format 1: levels and norms, in the layout and code that make the message shortest."""

    kind = "levels"

    def size(self, payload: QuantizedGradient) -> Size:
        """Return the sizes of all codes, of the shortest form, and of the whole message."""
        num_levels = payload.num_levels
        levels = _in_host_memory(payload.levels)
        magnitudes = np.abs(levels.astype(np.int32)) + 1
        reached = np.array([(magnitudes >= 2**j).sum() for j in range(num_classes(num_levels))], np.int64)
        bits = chunk_bits(levels.reshape(-1), num_levels, DEFAULT_CHUNK_SIZE)
        costs = costs_by_chunk(payload.partition, num_levels, bits, len(payload.shape))
        return quantized_size(num_levels, payload.partition.num_buckets, reached, costs)

    def pack(self, payload: QuantizedGradient) -> bytes:
        """Return `qsgd_lab.encode` of the payload."""
        return bytes(encode(payload))

    def unpack(self, message: bytes, layout: Layout) -> QuantizedGradient:
        """Return `qsgd_lab.decode` of the message."""
        quantized: QuantizedGradient = decode(
            message, max_coordinates=layout.num_coordinates, kinds=["levels"]
        )
        check_tensors(quantized.partition, layout)
        return quantized


def check_tensors(found: Partition, layout: Layout) -> None:
    """Raise a `MessageError` if a message is of a gradient with other tensors than the receiver's."""
    if found.tensor_sizes != layout.sizes:
        raise MessageError("the message is of a gradient with other tensors than the receiver's", "structure")


class RangedWire(QuantizedWire):
    """Wire format 2, layout ranged with one table: near the entropy of the levels."""

    def size(self, payload: QuantizedGradient) -> Size:
        """Return the sizes of all codes, and that of the message, which is coded for that."""
        size = super().size(payload)
        return size._replace(bits={**size.bits, "message": exact_bits(_on_host(payload))})

    def pack(self, payload: QuantizedGradient) -> bytes:
        """Return `qsgd_lab.encode` of the payload in the layout ranged."""
        return bytes(encode(_on_host(payload), layout="ranged", effort=0))


class QSGD(Compressor):
    """The quantizer of Alistarh et al. 2017 as a compressor; its state is the partition of the gradient.

    Parameters
    ----------
    bits : int, optional
        Magnitude bits b; s = 2**b - 1.
    levels : int, optional
        s itself; give either this or `bits`.
    norm : {"l2", "max"}
    bucket_size : int, "tensor" or "model"
    rounding : {"stochastic", "nearest"}
    backend : {"auto", "cpu", "reference", "cuda"}
        All give the same bits. Auto works where the gradients live; the reference, plain NumPy, also leaves
        the fused kernels aside.
    stream_version : {1, 2}
        Of the random words, as in `qsgd_lab.quantize`.
    layout : {"auto", "ranged"}
        Of messages: the shortest under Elias codes or fixed width, or one near the entropy. `mean` counts
        ranged messages from 2^16 coordinates on by an estimate, and by coding in every 16th step.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    takes_device_arrays = True
    wire = QuantizedWire()

    def __init__(
        self,
        bits: int | None = None,
        *,
        levels: int | None = None,
        norm: str = "l2",
        bucket_size: int | str = 512,
        rounding: str = "stochastic",
        backend: str = "auto",
        stream_version: int = 1,
        layout: str = "auto",
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
        if (bits is None) == (levels is None):
            raise ValueError("give either bits or levels")
        s = num_levels(bits) if bits is not None else levels
        assert s is not None
        check_scheme(s, norm, rounding, backend, stream_version)
        partition(0, bucket_size)  # refuses a bad bucket size here, not at the first gradient
        self.levels = int(s)
        self.norm, self.bucket_size, self.rounding, self.backend = norm, bucket_size, rounding, backend
        self.stream_version, self.layout = stream_version, layout
        if layout == "ranged":
            self.wire = RangedWire()

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors and buckets."""
        return partition(layout.num_coordinates, self.bucket_size, layout.sizes)

    def compress(
        self, gradient: Array, state: Partition, stream: Stream
    ) -> tuple[QuantizedGradient, Partition]:
        """Return (quantized gradient, the same partition)."""
        quantized = quantize(
            gradient,
            levels=self.levels,
            norm=self.norm,
            bucket_size=self.bucket_size,
            rounding=self.rounding,
            tensor_sizes=state.tensor_sizes,
            backend=self.backend,
            stream_version=self.stream_version,
            **stream._asdict(),
        )
        return quantized, state

    def decompress(self, payload: QuantizedGradient) -> Array:
        """Return the values of levels."""
        return dequantize(payload, backend=self.backend)

    def add_decoded(self, message: bytes, layout: Layout, total: Array) -> None:
        """Decode and add in one pass; what the wire refuses is refused here too."""
        if version_of(message) != 1:  # not what a peer of this method sends: no fast pass for it
            super().add_decoded(message, layout, total)
            return
        check_tensors(open_frame(message).index.partition, layout)
        add_decoded([message], total)

    @property
    def is_unbiased(self) -> bool:
        """True under stochastic rounding."""
        return self.rounding == "stochastic"

    def variance_factor(self, num_coordinates: int) -> float:
        """Return an upper bound on E||Q(v) - v||^2 / ||v||^2 over all v.

        With d coordinates a bucket: for l2, sqrt(d)/s - 1 where s <= sqrt(d)/2, else d/(4 s^2); for max,
        (sqrt(1 + (d-1)/s^2) - 1)/2; for nearest rounding min(1, d/(4 s^2)), since it errs by at most half a
        level everywhere and by no more than |v_i|. With a full bucket of d coordinates the first and the
        third are attained; the second exceeds the supremum by at most 1/(4 s^4) for d >= 3
        (`qsgd_lab.theory.variance.worst_case_variance_l2`). It keeps this simple form because `Damped`
        divides by it, and stored runs must repeat.
        """
        d = num_coordinates if isinstance(self.bucket_size, str) else min(self.bucket_size, num_coordinates)
        s = self.levels
        if d <= 1:
            return 0.0  # a single coordinate is its bucket's norm
        if self.rounding == "nearest":
            return min(1.0, d / (4 * s * s))
        if self.norm == "max":
            return (math.sqrt(1 + (d - 1) / s**2) - 1) / 2
        return math.sqrt(d) / s - 1 if s <= math.sqrt(d) / 2 else d / (4 * s * s)

    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> Partition:
        """Return the partition, which all nodes share."""
        return self.init(layout)

    def mean(
        self, rows: NodeRows, states: Partition, stream: Stream, out: Array, ledger: Ledger
    ) -> Partition:
        """Quantize, decode, average and count all nodes' gradients, residuals or sums in one pass."""
        if self.backend == "reference":
            super().mean(rows, [states] * rows.shape[0], stream, out, ledger)
            return states
        gradients, residuals = (_NONE if part is None else part for part in rows)
        _check_shapes(states, out, gradients, residuals)
        on_device = codec_for(out, self.backend).IS_DEVICE
        if on_device and self.layout == "ranged":  # messages of version 2 are coded in host memory
            super().mean(rows, [states] * rows.shape[0], stream, out, ledger)
            return states
        mean = self._mean_on_device if on_device else self._mean_on_host
        mean(gradients, residuals, states, stream, out, ledger)
        return states

    @cached_property
    def _kernel(self) -> tuple[Callable[..., None], np.uint32, Callable[[int], Any]]:
        """The kernel, its fraction bits and scratch; imported late, so that nothing compiles before."""
        from qsgd_lab.kernels.cpu.accumulate import accumulate_nodes, magnitude_scratch
        from qsgd_lab.kernels.fixed_point import fraction_bits

        return accumulate_nodes, np.uint32(fraction_bits(self.levels)), magnitude_scratch

    def _mean_on_host(
        self,
        gradients: Array,
        residuals: Array,
        state: Partition,
        stream: Stream,
        total: Array,
        ledger: Ledger,
    ) -> None:
        nodes = max(len(gradients), len(residuals))
        if not gradients.dtype == residuals.dtype == total.dtype == np.float32:
            raise TypeError("gradients, residuals and their sum must be float32")
        kernel, fraction, magnitude_scratch = self._kernel
        scratch = magnitude_scratch(self.levels)
        # Before the kernel: it overwrites residuals.
        ranged = self._ranged_bits(gradients, residuals, state, stream) if self.layout == "ranged" else {}
        reached = np.zeros(num_classes(self.levels), np.int64)
        bits, words = np.zeros((2, nodes, len(COUNTED)), np.int64)
        kernel(
            gradients,
            residuals,
            Offsets(state.bucket_offsets, state.tensor_offsets),
            StreamKey(*stream.kernel_key(self.stream_version)),
            Quantizer(
                NORMS.index(self.norm), self.rounding == "stochastic", np.uint32(self.levels), fraction
            ),
            total,
            True,  # divide by the number of nodes
            MessageCounter(length_steps(), scratch, bits, words, reached),
            np.empty((state.num_buckets, nodes), np.float32),
        )
        costs = message_costs(state, self.levels, bits, words)
        size = quantized_size(self.levels, state.num_buckets * nodes, reached, costs)
        ledger.add(size._replace(bits={**size.bits, **ranged}))

    def _ranged_bits(
        self, gradients: Array, residuals: Array, state: Partition, stream: Stream
    ) -> dict[str, int]:
        """Return the bits of all nodes' ranged messages together: coded, or of one node in turn for all."""
        nodes = max(len(gradients), len(residuals))

        def payload(node: int) -> QuantizedGradient:
            vector = gradients[node] if len(gradients) else residuals[node]
            if len(gradients) and len(residuals):
                vector = vector + residuals[node]
            return self.compress(vector, state, stream._replace(node=stream.node + node))[0]

        one = payload(stream.step % nodes)
        is_checked = stream.step % CODED_EVERY == 0
        if can_estimate(one) and not is_checked:
            return {"message": nodes * estimated_bits(one)}
        coded = sum(exact_bits(payload(node)) for node in range(nodes))
        bits = {"message": coded}
        if can_estimate(one):
            bits |= {"coded": coded, "estimated": nodes * estimated_bits(one)}
        return bits

    def _mean_on_device(
        self,
        gradients: Array,
        residuals: Array,
        state: Partition,
        stream: Stream,
        total: Array,
        ledger: Ledger,
    ) -> None:
        """Average on the device and stream of `total`; nothing waits, and counts stay on the device."""
        from qsgd_lab.coding.device.counts import device_counts
        from qsgd_lab.kernels.cuda.accumulate import launch_accumulate
        from qsgd_lab.kernels.cuda.device import context_of, device_view
        from qsgd_lab.kernels.cuda.rows import row_tables

        context = context_of(total, "the sum")
        nodes = max(len(gradients), len(residuals))
        levels = context.scratch((nodes, state.num_coordinates), level_dtype(self.levels))
        launch_accumulate(
            context,
            row_tables(state, context),
            device_view(gradients, np.float32, "gradients") if len(gradients) else None,
            device_view(residuals, np.float32, "residuals") if len(residuals) else None,
            stream.kernel_key(self.stream_version),
            NORMS.index(self.norm),
            self.rounding == "stochastic",
            self.levels,
            True,  # divide by the number of nodes
            device_view(total, np.float32, "the sum"),
            levels,
        )
        device_counts(ledger, self.levels, context).measure(state, levels)


def _in_host_memory(levels: Any) -> Any:
    """Return levels as a NumPy array."""
    if is_device_array(levels):
        from qsgd_lab.kernels.cuda.device import to_host

        return to_host(levels)
    return levels.numpy() if is_torch(levels) else levels


def _on_host(payload: QuantizedGradient) -> QuantizedGradient:
    """Return a quantized gradient with its arrays in host memory."""
    return replace(payload, levels=_in_host_memory(payload.levels), norms=_in_host_memory(payload.norms))


def _check_shapes(state: Partition, total: Array, gradients: Array, residuals: Array) -> None:
    """Refuse what the kernel would read or write out of bounds; once a step, so only a few comparisons."""
    n = state.num_coordinates
    rows = gradients if len(gradients) else residuals
    if rows.shape[1:] != (n,) or total.shape != (n,) or (len(residuals) and residuals.shape != rows.shape):
        raise ValueError(
            f"the state is for {n} coordinates, but gradients are {tuple(gradients.shape)}, "
            f"residuals {tuple(residuals.shape)} and their sum {tuple(total.shape)}"
        )


def _label(options: Mapping[str, Any]) -> str:
    rounding = "" if options["rounding"] == "stochastic" else f", {options['rounding']}"
    version = "" if options.get("stream_version", 1) == 1 else ", stream 2"
    layout = "" if options.get("layout", "auto") == "auto" else ", ranged"
    return (
        f"QSGD {options['bits']} bit, {options['norm']}, {options['bucket_size']}{rounding}{version}{layout}"
    )


METHOD = Method(
    "qsgd",
    QSGD,
    (
        Option("bits", int, 4, "magnitude bits b, so that s = 2^b - 1 levels"),
        Option("norm", str, "l2", "norm of a bucket", choices=NORMS),
        Option("bucket_size", BucketSize, 512, "coordinates that share a norm: a number, tensor or model"),
        Option("rounding", str, "stochastic", "how levels are chosen", choices=("stochastic", "nearest")),
        Option("stream_version", int, 1, "random words: 1 draws one a coordinate, 2 one for two"),
        Option("layout", str, "auto", "of messages: Elias codes, or near the entropy", choices=LAYOUTS),
    ),
    _label,
    summary="stochastic rounding to s levels of a bucket's norm, Elias-coded",
    source="Alistarh, Grubic, Li, Tomioka, Vojnovic, NeurIPS 2017",
    theory="qsgd_lab.theory.methods.qsgd",
    settings=(
        *(f"qsgd(bits={b},norm={norm})" for norm in NORMS for b in (1, 2, 3, 4, 5, 6, 8)),
        *(
            f"qsgd(bits={b},bucket_size=tensor)" for b in (4, 6, 8, 10, 12)
        ),  # s about sqrt(n), as in the theorems
    ),
    columns={"num_levels": lambda options: 2 ** options["bits"] - 1},
)
