"""QSGD: stochastic (or nearest) rounding to s levels of a bucket's norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_device_array, is_torch, resolve_backend
from qsgd_lab.coding.elias import num_classes
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.message_costs import costs_by_chunk, length_steps, message_costs
from qsgd_lab.coding.shortest import COUNTED
from qsgd_lab.coding.sizes import chunk_bits
from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.levels import NORMS, num_levels
from qsgd_lab.partition import Partition, partition
from qsgd_lab.quantization import QuantizedGradient, check_scheme, dequantize, level_dtype, quantize
from qsgd_lab.stream import Stream

_NONE: Gradient = np.empty((0, 0), np.float32)


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

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    def __init__(
        self,
        bits: int | None = None,
        *,
        levels: int | None = None,
        norm: str = "l2",
        bucket_size: int | str = 512,
        rounding: str = "stochastic",
        backend: str = "auto",
    ) -> None:
        if (bits is None) == (levels is None):
            raise ValueError("give either bits or levels")
        s = num_levels(bits) if bits is not None else levels
        assert s is not None
        check_scheme(s, norm, rounding, backend)
        partition(0, bucket_size)  # refuses a bad bucket size here, not at the first gradient
        self.levels = int(s)
        self.norm, self.bucket_size, self.rounding, self.backend = norm, bucket_size, rounding, backend

    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> Partition:
        """Return the partition into tensors and buckets."""
        return partition(num_coordinates, self.bucket_size, tensor_sizes)

    def compress(
        self, gradient: Gradient, state: Partition, stream: Stream
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
            **stream._asdict(),
        )
        return quantized, state

    def decompress(self, message: QuantizedGradient) -> Gradient:
        """Return the values of levels."""
        values: Gradient = dequantize(message, backend=self.backend)
        return values

    def count(self, message: QuantizedGradient, tally: Tally) -> None:
        """Count levels and norms, and measure the message in its shortest form."""
        levels = _in_host_memory(message.levels)
        magnitudes = np.abs(levels.astype(np.int32)) + 1
        reached = np.array([(magnitudes >= 2**j).sum() for j in range(num_classes(self.levels))], np.int64)
        bits = chunk_bits(levels.reshape(-1), self.levels, DEFAULT_CHUNK_SIZE)
        costs = costs_by_chunk(message.partition, self.levels, bits, len(message.shape))
        tally.add_quantized(self.levels, message.norms.size, reached, costs)

    @property
    def is_unbiased(self) -> bool:
        """True under stochastic rounding."""
        return self.rounding == "stochastic"

    def variance_factor(self, num_coordinates: int) -> float:
        """Return the tight worst case of E||Q(v) - v||^2 / ||v||^2 over all v (nearest: an upper bound).

        With d coordinates a bucket: for l2, sqrt(d)/s - 1 where s <= sqrt(d)/2, else d/(4 s^2); for max,
        (sqrt(1 + (d-1)/s^2) - 1)/2. Nearest rounding errs by at most half a level everywhere and by no more
        than |v_i|.
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

    def accumulate(
        self, gradient: Gradient, state: Partition, stream: Stream, total: Gradient, tally: Tally
    ) -> Partition:
        """Quantize, decode, add and count in one pass."""
        if self.backend == "reference":
            super().accumulate(gradient, state, stream, total, tally)
            return state
        return self._fused(_row(gradient), _NONE, state, stream, total, tally, average=False)

    def accumulate_with_residual(
        self,
        gradient: Gradient,
        residual: Gradient,
        state: Partition,
        stream: Stream,
        total: Gradient,
        tally: Tally,
    ) -> Partition:
        """Do the same for gradient + residual, and leave in `residual` what was not sent."""
        if self.backend == "reference":
            super().accumulate_with_residual(gradient, residual, state, stream, total, tally)
            return state
        return self._fused(_row(gradient), _row(residual), state, stream, total, tally, average=False)

    def init_nodes(
        self, nodes: int, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None
    ) -> Partition:
        """Return the partition, which all nodes share."""
        return self.init(num_coordinates, tensor_sizes)

    def average(
        self, gradients: Gradient, states: Partition, stream: Stream, mean: Gradient, tally: Tally
    ) -> Partition:
        """Quantize, decode, average and count all nodes' gradients in one pass."""
        if self.backend == "reference":
            super().average(gradients, [states] * len(gradients), stream, mean, tally)
            return states
        return self._fused(gradients, _NONE, states, stream, mean, tally, average=True)

    def average_with_residuals(
        self,
        gradients: Gradient,
        residuals: Gradient,
        states: Partition,
        stream: Stream,
        mean: Gradient,
        tally: Tally,
    ) -> Partition:
        """Do the same for gradients + residuals, and leave in `residuals` what was not sent."""
        if self.backend == "reference":
            shared = [states] * len(gradients)
            super().average_with_residuals(gradients, residuals, shared, stream, mean, tally)
            return states
        return self._fused(gradients, residuals, states, stream, mean, tally, average=True)

    def average_in_place(
        self, corrected: Gradient, states: Partition, stream: Stream, mean: Gradient, tally: Tally
    ) -> Partition:
        """Do the same for gradients that the caller has added to the residuals."""
        if self.backend == "reference":
            super().average_in_place(corrected, [states] * len(corrected), stream, mean, tally)
            return states
        return self._fused(_NONE, corrected, states, stream, mean, tally, average=True)

    @cached_property
    def _kernel(self) -> tuple[Callable[..., None], np.uint32, Callable[[int], Any]]:
        """The kernel, its fraction bits and scratch; imported late, so that nothing compiles before."""
        from qsgd_lab.kernels.cpu.accumulate import accumulate_nodes, magnitude_scratch
        from qsgd_lab.kernels.fixed_point import fraction_bits

        return accumulate_nodes, np.uint32(fraction_bits(self.levels)), magnitude_scratch

    def _fused(
        self,
        gradients: Gradient,
        residuals: Gradient,
        state: Partition,
        stream: Stream,
        total: Gradient,
        tally: Tally,
        *,
        average: bool,
    ) -> Partition:
        nodes = max(len(gradients), len(residuals))
        _check_shapes(state, total, gradients, residuals)
        if resolve_backend(total, self.backend) == "cuda":
            self._fused_on_device(gradients, residuals, state, stream, total, tally, average=average)
            return state
        if not gradients.dtype == residuals.dtype == total.dtype == np.float32:
            raise TypeError("gradients, residuals and their sum must be float32")
        kernel, fraction, magnitude_scratch = self._kernel
        scratch = magnitude_scratch(self.levels)
        reached = np.zeros(num_classes(self.levels), np.int64)
        bits, words = np.zeros((2, nodes, len(COUNTED)), np.int64)
        kernel(
            gradients,
            residuals,
            state.bucket_offsets,
            state.tensor_offsets,
            stream.kernel_key(),
            NORMS.index(self.norm),
            self.rounding == "stochastic",
            np.uint32(self.levels),
            fraction,
            total,
            average,
            (length_steps(), scratch, bits, words, reached),
            np.empty((state.num_buckets, nodes), np.float32),
        )
        costs = message_costs(state, self.levels, bits, words)
        tally.add_quantized(self.levels, state.num_buckets * nodes, reached, costs)
        return state

    def _fused_on_device(
        self,
        gradients: Gradient,
        residuals: Gradient,
        state: Partition,
        stream: Stream,
        total: Gradient,
        tally: Tally,
        *,
        average: bool,
    ) -> None:
        """Do the same on the total's device and its caller's stream; nothing waits, and counts stay there."""
        from qsgd_lab.coding.device.tally import device_counts
        from qsgd_lab.kernels.cuda.accumulate import launch_accumulate
        from qsgd_lab.kernels.cuda.device import device_view, home_of
        from qsgd_lab.kernels.cuda.rows import row_tables

        home = home_of(total, "the sum")
        nodes = max(len(gradients), len(residuals))
        levels = home.scratch((nodes, state.num_coordinates), level_dtype(self.levels))
        launch_accumulate(
            home,
            row_tables(state, home),
            device_view(gradients, np.float32, "gradients") if len(gradients) else None,
            device_view(residuals, np.float32, "residuals") if len(residuals) else None,
            stream.kernel_key(),
            NORMS.index(self.norm),
            self.rounding == "stochastic",
            self.levels,
            average,
            device_view(total, np.float32, "the sum"),
            levels,
        )
        device_counts(tally, self.levels, home).measure(state, levels)


def _row(gradient: Gradient) -> Gradient:
    """Return a view of shape (1, n)."""
    return gradient.reshape((1, gradient.shape[0]))


def _in_host_memory(levels: Any) -> Any:
    """Return levels as a NumPy array."""
    if is_device_array(levels):
        from qsgd_lab.kernels.cuda.device import to_host

        return to_host(levels)
    return levels.numpy() if is_torch(levels) else levels


def _check_shapes(state: Partition, total: Gradient, gradients: Gradient, residuals: Gradient) -> None:
    """Refuse what the kernel would read or write out of bounds; once a step, so only a few comparisons."""
    n = state.num_coordinates
    rows = gradients if len(gradients) else residuals
    if rows.shape[1:] != (n,) or total.shape != (n,) or (len(residuals) and residuals.shape != rows.shape):
        raise ValueError(
            f"the state is for {n} coordinates, but gradients are {tuple(gradients.shape)}, "
            f"residuals {tuple(residuals.shape)} and their sum {tuple(total.shape)}"
        )
