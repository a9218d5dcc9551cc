"""Two mistakes of a published quantizer, kept whole so that their effect can be measured.

Neither is for use: `qsgd_lab.training.flaws` names them, and a run asks for them by name.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from qsgd_lab.compressors.methods.qsgd import METHOD as QSGD_METHOD
from qsgd_lab.compressors.methods.qsgd import QSGD, QuantizedWire
from qsgd_lab.compressors.protocol import Array, Compressor, Layout
from qsgd_lab.compressors.registry import Method
from qsgd_lab.compressors.wrappers.error_feedback import ErrorFeedback, ErrorFeedbackState
from qsgd_lab.levels import num_levels
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.stream import Stream


class OverwrittenErrorFeedback(ErrorFeedback):
    """Error feedback whose residual is always zero.

    The published loop writes the quantized gradient over the gradient and then takes their difference, so
    that nothing is ever carried over: the network trains as without error feedback.
    """

    def _kept(self, state: ErrorFeedbackState, inner: Any, residual: Array) -> ErrorFeedbackState:
        """Return the state with the residual forgotten."""
        residual[...] = 0
        return dataclasses.replace(state, inner=inner, residual=residual)


class BiasedLevels(Compressor):
    r"""Scales by S = s + 1 and divides by s: every value comes back too large.

    With u = S |v| / norm, the published code takes the level min(floor(u), s), adds one with probability u
    less that, and takes one off where the level before was s, so that s + 1 levels 0..s remain:

    .. math:: E[Q(v)] = \frac{S}{s} v \quad (u < s), \qquad E[Q(v)] = \frac{u - 1}{s} \lVert v \rVert
              \operatorname{sgn}(v) \quad (u \ge s)

    Deterministic rounding there is truncation: the level is min(floor(u), s). At b bits S = 2^b, so that
    gradients come out 4/3 too large at 2 bits, 16/15 at 4: a higher learning rate, without notice.

    Parameters
    ----------
    levels : int
        s, the largest level.
    norm, bucket_size, rounding
        As for `QSGD`.
    """

    takes_device_arrays = True
    is_unbiased = False  # though the rounding is stochastic

    def __init__(
        self,
        *,
        levels: int,
        norm: str = "max",
        bucket_size: int | str = "tensor",
        rounding: str = "stochastic",
    ) -> None:
        # What a receiver decodes with, and what draws the levels; truncation needs no more than the norms.
        self._decoder = QSGD(levels=levels, norm=norm, bucket_size=bucket_size, rounding=rounding)
        self._scaler = QSGD(levels=levels + 1, norm=norm, bucket_size=bucket_size, rounding=rounding)
        self.levels, self.rounding = levels, rounding

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors and buckets."""
        return self._decoder.init(layout)

    def compress(
        self, gradient: Array, state: Partition, stream: Stream
    ) -> tuple[QuantizedGradient, Partition]:
        """Return (quantized gradient, the same partition)."""
        scaled, _ = self._scaler.compress(gradient, state, stream)
        # The signs and operators below are those that NumPy arrays and torch tensors share.
        everywhere_top = dataclasses.replace(scaled, levels=abs(scaled.levels) * 0 + self.levels)
        norms = self._decoder.decompress(dataclasses.replace(everywhere_top, num_levels=self.levels))
        position = abs(gradient) * (self.levels + 1) / (norms + 1 * (norms == 0))
        magnitudes = abs(scaled.levels)
        if self.rounding == "stochastic":
            magnitudes = magnitudes - 1 * (position >= self.levels)
        else:
            magnitudes = magnitudes - 1 * (magnitudes > position)
        signs = 1 * (scaled.levels > 0) - 1 * (scaled.levels < 0)
        scaled.levels[...] = signs * magnitudes.clip(0, self.levels)
        return dataclasses.replace(scaled, num_levels=self.levels), state

    def decompress(self, payload: QuantizedGradient) -> Array:
        """Return norm * level / s."""
        return self._decoder.decompress(payload)

    @property
    def wire(self) -> QuantizedWire:
        """The quantizer's: levels 0..s and norms."""
        return self._decoder.wire

    def variance_factor(self, num_coordinates: int) -> None:
        """Return None: the error is mostly bias."""
        return


#: Of QSGD's options those that the published code has.
_OPTIONS = ("bits", "norm", "bucket_size", "rounding")


def _biased(bits: int, **options: Any) -> BiasedLevels:
    return BiasedLevels(levels=num_levels(bits), **options)


METHODS = (
    Method(
        "biased-qsgd",
        _biased,
        tuple(option for option in QSGD_METHOD.options if option.name in _OPTIONS),
        lambda options: f"{QSGD_METHOD.label(options)}, biased",
        summary="a published quantizer whose values come out too large; for replays only",
        source="the published code of 2023",
        is_listed=False,
    ),
    Method(
        "ef-forgotten",
        OverwrittenErrorFeedback,
        (),
        lambda options: f"{options['inner']} + EF (forgotten)",
        summary="a published error feedback that keeps nothing; for replays only",
        source="the published code of 2023",
        is_wrapper=True,
        is_listed=False,
    ),
)
