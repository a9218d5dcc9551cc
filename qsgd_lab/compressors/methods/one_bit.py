"""1-bit SGD and scaled sign: one bit a coordinate, and two means or one scale a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qsgd_lab.arrays import check_backend
from qsgd_lab.compressors.level_sets import bits_by_sign, sums_by_sign
from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.methods.rand_k import check_choice
from qsgd_lab.compressors.protocol import Array, Compressor, Layout
from qsgd_lab.compressors.registry import BucketSize, Method, Option
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.partition import Partition, partition
from qsgd_lab.stream import Stream
from qsgd_lab.wire.checks import writing
from qsgd_lab.wire.kinds.levels import bucket_fields
from qsgd_lab.wire.kinds.one_bit import OneBit

VALUES = ("means", "scale")


class OneBitQuantizer(Compressor):
    """Sends whether a coordinate is below 0, and the values of those that are and of those that are not.

    Both values are means, taken in float64 one coordinate after another. Both methods need error feedback.

    Parameters
    ----------
    values : {"means", "scale"}
        The means of the coordinates below 0 and of the others (1-bit SGD), or plus and minus the mean
        magnitude (scaled sign).
    bucket_size : int, "tensor" or "model"
    backend : {"auto", "cpu", "reference"}

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    needs_feedback = True
    is_unbiased = False

    def __init__(self, values: str, bucket_size: int | str = 512, backend: str = "auto") -> None:
        check_choice("values", values, VALUES)
        check_backend(backend)
        with writing():  # a bad bucket size is refused here, not at the first gradient
            bucket_fields(partition(0, bucket_size))
        self.values, self.bucket_size, self.backend = values, bucket_size, backend
        self._wire = MessageWire(
            "one-bit",
            lambda payload, layout: (
                payload.partition == self.init(layout) and payload.scales.shape[1] == self._columns
            ),
            lambda payload: payload.bits.size + FLOAT_BITS * payload.scales.size,
        )

    @property
    def _columns(self) -> int:
        return 2 if self.values == "means" else 1

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors and buckets."""
        return partition(layout.num_coordinates, self.bucket_size, layout.sizes)

    def compress(self, gradient: Array, state: Partition, stream: Stream) -> tuple[OneBit, Partition]:
        """Return (bits and scales, the same partition)."""
        sums, counts = sums_by_sign(gradient, state, self.backend)
        finite = np.isfinite(sums).all(axis=1)
        sums[~finite] = 0
        if self.values == "means":
            scales = sums / np.maximum(counts, 1)  # no coordinates: 0
        else:
            scales = (sums[:, 1:] - sums[:, :1]) / counts.sum(axis=1, keepdims=True)
        scales = scales.astype(np.float32)
        # A tiny mean magnitude may round to 0; bits are then 0, too, as in a bucket of NaN.
        dead = ~finite if self.values == "means" else ~finite | (scales[:, 0] == 0)
        scales[~finite] = np.nan
        return OneBit(bits_by_sign(gradient, state, dead, self.backend), scales, state), state

    @property
    def wire(self) -> MessageWire:
        """Kind "one-bit" of wire format 2."""
        return self._wire

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - 1/d for d coordinates a bucket: a vector of one non-zero attains it, or nearly.

        Two means leave d - 1 zeros and one x > 0 an error of (1 - 1/d) x^2, as the mean magnitude does. On
        normal coordinates it is 1 - 2/pi.
        """
        whole = isinstance(self.bucket_size, str)
        d = num_coordinates if whole else min(int(self.bucket_size), num_coordinates)
        return 1 - 1 / d if d else 0.0


def _label(name: str) -> Any:
    def label(options: Mapping[str, Any]) -> str:
        return f"{name}, {options['bucket_size']}"

    return label


_BUCKET = "coordinates that share their values: a number, tensor or model"

METHODS = (
    Method(
        "one-bit",
        lambda bucket_size: OneBitQuantizer("means", bucket_size),
        (Option("bucket_size", BucketSize, 512, _BUCKET),),
        _label("1-bit"),
        summary="signs, and the means of the coordinates below 0 and of the others; for error feedback",
        source="Seide, Fu, Droppo, Li, Yu, Interspeech 2014",
        theory="qsgd_lab.theory.methods.one_bit",
    ),
    Method(
        "sign",
        lambda bucket_size: OneBitQuantizer("scale", bucket_size),
        (Option("bucket_size", BucketSize, "tensor", _BUCKET),),
        _label("scaled sign"),
        summary="signs times the mean magnitude; for error feedback",
        source="Bernstein et al., ICML 2018; Karimireddy et al., ICML 2019",
        theory="qsgd_lab.theory.methods.one_bit",
    ),
)
