"""TernGrad, and QSGD whose scale all nodes share: levels that the network can add up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import check_backend
from qsgd_lab.compressors.level_sets import Floats, round_to_levels, scales_by_norm
from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.methods.rand_k import check_choice
from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Gather, Layout, Rounds
from qsgd_lab.compressors.registry import BucketSize, Method, Option
from qsgd_lab.levels import FLOAT_BITS, NORMS, magnitude_bits, num_levels
from qsgd_lab.partition import Partition, partition
from qsgd_lab.quantization import dequantize, level_dtype
from qsgd_lab.stream import Stream
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.raw import Raw

SCALES = ("own", "shared")


class UniformLevels(Compressor):
    """Stochastic rounding to s levels of a bucket's scale, which is its own or the largest of all nodes.

    With a shared scale, agreement takes two rounds: scales, of which all nodes take the maximum, and levels.
    Levels of one scale are integers that add up: a network can all-reduce them in `sum_bits` bits each.
    A node whose gradient is smaller than others' then rounds more coarsely than with a scale of its own.

    Parameters
    ----------
    levels : int
        s.
    norm : {"l2", "max"}
        What a node's own scale is.
    bucket_size : int, "tensor" or "model"
    scale : {"own", "shared"}
    clip : float
        Magnitudes above so many root mean squares of their bucket are cut to that; 0 cuts nothing.
    backend : {"auto", "cpu", "reference"}

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    def __init__(
        self,
        levels: int,
        *,
        norm: str = "max",
        bucket_size: int | str = "tensor",
        scale: str = "shared",
        clip: float = 0.0,
        backend: str = "auto",
    ) -> None:
        check_choice("norm", norm, NORMS)
        check_choice("scale", scale, SCALES)
        check_backend(backend)
        if not 0 <= clip < math.inf:
            raise ValueError(f"clip is {clip}; it must be a number of at least 0, and 0 cuts nothing")
        partition(0, bucket_size)  # refuses a bad bucket size here, not at the first gradient
        self.levels, self.norm, self.bucket_size = levels, norm, bucket_size
        self.scale, self.clip, self.backend = scale, clip, backend
        self.interactive = scale == "shared"
        self.aggregates = "sums" if self.interactive else "gathers"
        rounds = ("raw",) if self.interactive else ()  # that of scales
        self._wire = MessageWire("levels", self._matches, self._fixed_bits, rounds)

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors and buckets."""
        return partition(layout.num_coordinates, self.bucket_size, layout.sizes)

    def compress(self, gradient: Array, state: Partition, stream: Stream) -> tuple[Levels, Partition]:
        """Return (levels under the node's own scale, the same partition)."""
        x, scales = self._clipped(gradient, state)
        return self._quantized(x, scales, state, stream), state

    def _clipped(self, x: Floats, parts: Partition) -> tuple[Floats, Floats]:
        """Return the gradient, cut where it is to be cut, and its own scale for each bucket."""
        scales = scales_by_norm(x, parts, self.norm, self.backend)
        if not self.clip:
            return x, scales
        lengths = np.diff(parts.bucket_offsets)
        squares = scales_by_norm(x, parts, "l2", self.backend).astype(np.float64)
        most = np.minimum(self.clip * squares / np.sqrt(lengths), np.finfo(np.float32).max)
        bounds = most.astype(np.float32)
        scales = np.minimum(scales, bounds)
        if not self.interactive:
            return x, scales  # rounding cuts at the scale
        each = np.repeat(bounds, lengths)
        return np.clip(x, -each, each), scales

    def _quantized(self, x: Floats, scales: Floats, parts: Partition, stream: Stream) -> Levels:
        from qsgd_lab.kernels.level_sets import UNIFORM

        codes = round_to_levels(x, parts, stream, scales, UNIFORM, self.levels, self.backend)
        levels = codes.astype(level_dtype(self.levels), copy=False)
        norm = "shared" if self.interactive else self.norm
        layout = "base3" if self.levels == 1 else "fixed"
        return Levels(levels, scales, self.levels, norm, parts, (x.size,), layout)

    def decompress(self, payload: Levels) -> Array:
        """Return the values of levels."""
        return dequantize(payload, backend=self.backend)

    def rounds(self, vector: Array, state: Partition, stream: Stream) -> Rounds:
        """Agree on scales, then on the sum of levels; with scales of their own, exchange payloads."""
        if not self.interactive:
            agreed = yield from super().rounds(vector, state, stream)
            return agreed
        x, own = self._clipped(vector, state)
        received = yield Gather(Raw(own))
        scales = np.maximum.reduce([payload.values for payload in received])  # NaN wins
        payload = self._quantized(x, scales, state, stream)
        payloads = yield Gather(payload)
        total = np.zeros(x.size, np.int32)
        for other in payloads:
            total += other.levels
        return Agreed(
            mean_of_sum(total, scales, state, self.levels, len(payloads)), self.decompress(payload), state
        )

    @property
    def wire(self) -> MessageWire:
        """Kind "levels" of wire format 2: base 3 for s = 1, else fixed width."""
        return self._wire

    @property
    def is_unbiased(self) -> bool:
        """True where nothing is cut."""
        return self.clip == 0

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return an upper bound on E||Q(v) - v||^2 / ||v||^2 over all v; None with a shared scale.

        With a shared scale the error depends on the others' gradients, and has no bound in one's own. With
        an own scale, that of `QSGD`; with s = 1 and magnitudes cut at c root mean squares, 1 + c^2/8 for
        c <= 4 and c - 1 above, where c < sqrt(d) (derived in `qsgd_lab.theory.methods.shared_scale`).
        """
        whole = isinstance(self.bucket_size, str)
        d = num_coordinates if whole else min(int(self.bucket_size), num_coordinates)
        if self.interactive or (self.clip and self.levels > 1):
            return None
        if d <= 1:
            return 0.0
        uncut = (math.sqrt(1 + (d - 1) / self.levels**2) - 1) / 2
        if not self.clip or self.clip >= math.sqrt(d):
            return uncut
        return 1 + self.clip**2 / 8 if self.clip <= 4 else self.clip - 1

    def _matches(self, payload: Levels | Raw, layout: Layout) -> bool:
        if isinstance(payload, Raw):
            values = payload.values
            return bool(values.dtype == np.float32 and values.size == self.init(layout).num_buckets)
        norm = "shared" if self.interactive else self.norm
        scheme = (payload.num_levels, payload.norm, payload.layout)
        own = (self.levels, norm, "base3" if self.levels == 1 else "fixed")
        return scheme == own and payload.partition == self.init(layout)

    def _fixed_bits(self, payload: Levels | Raw) -> int:
        if isinstance(payload, Raw):  # the round of scales
            return FLOAT_BITS * int(payload.values.size)
        n = payload.levels.size
        coded = 8 * -(-n // 5) if self.levels == 1 else n * (magnitude_bits(self.levels) + 1)
        return int(coded + FLOAT_BITS * payload.norms.size)


def mean_of_sum(
    total: NDArray[np.int32], scales: Floats, parts: Partition, levels: int, nodes: int
) -> NDArray[np.float32]:
    """Return the mean that a sum of N nodes' levels means, float32, shape (n,): levels under N s."""
    steps = np.repeat(scales.astype(np.float64) / (levels * nodes), np.diff(parts.bucket_offsets))
    mean: NDArray[np.float32] = (total * steps).astype(np.float32)
    return mean


def _shared_qsgd(bits: int, norm: str, bucket_size: int | str) -> UniformLevels:
    return UniformLevels(num_levels(bits), norm=norm, bucket_size=bucket_size)


def _clip(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _terngrad_label(options: Mapping[str, Any]) -> str:
    clip = f", clip {options['clip']:g}" if options["clip"] != 2.5 else ""
    return f"TernGrad{clip}" + (", shared scale" if options["scale"] == "shared" else "")


METHODS = (
    Method(
        "terngrad",
        lambda clip, scale: UniformLevels(1, clip=clip, scale=scale),
        (
            Option("clip", _clip, 2.5, "root mean squares of a tensor at which magnitudes are cut; 0: not"),
            Option(
                "scale", str, "own", "a tensor's own largest magnitude, or the largest of all nodes", SCALES
            ),
        ),
        _terngrad_label,
        summary="ternary levels of a tensor's largest magnitude after clipping, five a byte",
        source="Wen et al., NeurIPS 2017",
        theory="qsgd_lab.theory.methods.shared_scale",
    ),
    Method(
        "qsgd-shared",
        _shared_qsgd,
        (
            Option("bits", int, 4, "magnitude bits b, so that s = 2^b - 1 levels"),
            Option("norm", str, "max", "norm of a bucket", tuple(NORMS)),
            Option(
                "bucket_size", BucketSize, 512, "coordinates that share a norm: a number, tensor or model"
            ),
        ),
        lambda o: f"QSGD {o['bits']} bit, shared {o['norm']}, {o['bucket_size']}",
        summary="QSGD with the largest scale of all nodes: integers that add up",
        source="Global-QSGD, 2023; THC, NSDI 2024",
        theory="qsgd_lab.theory.methods.shared_scale",
        settings=tuple(f"qsgd-shared(bits={bits})" for bits in (1, 2, 3, 4, 6)),
    ),
)
