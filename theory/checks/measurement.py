"""Repeated quantization of one vector, and the sums that the checks need.

A quantizer is any function of (vector, setting, trial) that gives back what a receiver decodes, so that a
check can be pointed at a faulty one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, optional_whole, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.every_vector_bits import ROUNDINGS


@dataclass(frozen=True)
class QuantizerSetting:
    """What is checked, in the words of `qsgd_lab.quantize`.

    Attributes
    ----------
    bits : int
        b; s = 2^b - 1 unless `levels` says otherwise.
    bucket_size, norm, rounding, seed, backend
        As in `qsgd_lab.quantize`.
    tensor : int
        Which random words: those of this tensor. Blocks of a long vector are tensors of their own.
    levels : int, optional
        s itself.

    Raises
    ------
    ValueError
        If a number is not whole or below 1, or a name is unknown.
    """

    bits: int
    bucket_size: int = 512
    norm: Norm = "l2"
    rounding: str = "stochastic"
    seed: int = 0
    backend: str = "auto"
    tensor: int = 0
    levels: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no quantizer can be set to."""
        whole("bits", self.bits)
        whole("bucket_size", self.bucket_size)
        optional_whole("levels", self.levels)
        choice("norm", self.norm, NORMS)
        choice("rounding", self.rounding, ROUNDINGS)

    @property
    def num_levels(self) -> int:
        """The number of levels, s."""
        return int(2**self.bits - 1) if self.levels is None else self.levels


#: (float32 vector, setting, trial) -> the decoded vector, float32, shape (n,).
Quantizer = Callable[[NDArray[np.float32], QuantizerSetting, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Measurement:
    """Sums over T trials of quantizing one vector of n coordinates.

    Attributes
    ----------
    errors : ndarray of float64, shape (2, n)
        Q(v) - v added up over the even trials and over the odd ones.
    squared_errors : ndarray of float64, shape (T,)
        ||Q(v) - v||^2 of each trial.
    nonzeros : ndarray of float64, shape (T,)
        ||Q(v)||_0 of each trial.
    """

    errors: Floats
    squared_errors: Floats
    nonzeros: Floats

    @property
    def trials(self) -> int:
        """T."""
        return int(self.nonzeros.size)


def lab_quantizer(vector: NDArray[np.float32], setting: QuantizerSetting, trial: int) -> NDArray[np.float32]:
    """Quantize and decode with `qsgd_lab.quantization`; the trial is the step of the random stream."""
    from qsgd_lab.quantization import dequantize, quantize

    quantized = quantize(
        vector,
        levels=setting.num_levels,
        bucket_size=setting.bucket_size,
        norm=setting.norm,
        rounding=setting.rounding,
        seed=setting.seed,
        step=trial,
        tensor=setting.tensor,
        backend=setting.backend,
    )
    return np.asarray(dequantize(quantized, backend=setting.backend), dtype=np.float32)


def measure(
    vector: NDArray[np.float32], setting: QuantizerSetting, trials: int, quantizer: Quantizer
) -> Measurement:
    """Quantize a vector `trials` times, at least once, with independent random words."""
    trials = whole("trials", trials)
    errors = np.zeros((2, vector.size))
    squared_errors, nonzeros = np.empty(trials), np.empty(trials)
    for trial in range(trials):
        decoded = quantizer(vector, setting, trial)
        # In float64: errors of many trials add up to what the tests look at.
        error = np.subtract(decoded, vector, dtype=np.float64)
        # Two halves, so that the errors of one are an independent direction for the other.
        errors[trial % 2] += error
        squared_errors[trial] = error @ error
        nonzeros[trial] = np.count_nonzero(decoded)
    return Measurement(errors, squared_errors, nonzeros)
