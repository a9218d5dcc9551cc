"""Sums that the quantization check keeps of each block, and the addition of blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.measurement import Measurement, Quantizer, QuantizerSetting, measure
from qsgd_lab.theory.checks.quantizer_tests import nearest_tests, stochastic_tests
from qsgd_lab.theory.checks.statistics import BernsteinTest
from qsgd_lab.theory.level_positions import LevelPositions, level_positions
from qsgd_lab.theory.variance import squared_norm


@dataclass(frozen=True)
class BlockSums:
    """Measured and exact sums of one block, or of several together.

    Attributes
    ----------
    squared_norm : float
        ||v||^2.
    exact : float
        E||Q(v) - v||^2, or for nearest rounding the squared error, in squared units of the vector.
    nonzeros_exact : float
        E||Q(v)||_0.
    squared_errors, nonzeros : ndarray of float64, shape (T,)
        ||Q(v) - v||^2 and ||Q(v)||_0 of each trial.
    tests : dict of str to BernsteinTest
        See `quantizer_tests`.
    """

    squared_norm: float
    exact: float
    nonzeros_exact: float
    squared_errors: Floats
    nonzeros: Floats
    tests: dict[str, BernsteinTest]


def measure_block(
    block: NDArray[np.float32], index: int, setting: QuantizerSetting, trials: int, quantizer: Quantizer
) -> BlockSums:
    """Quantize one block `trials` times with the random words of tensor `index`.

    Raises
    ------
    ValueError
        If the block is empty or not finite.
    """
    size = min(setting.bucket_size, max(block.size, 1))
    measurement = measure(
        block, dataclasses.replace(setting, tensor=index, bucket_size=size), trials, quantizer
    )
    # The levels are in float64 from the vector itself: they share nothing with the kernels.
    at = level_positions(block, setting.num_levels, norm=setting.norm, bucket_size=size)
    keep = _keep_nearest if setting.rounding == "nearest" else _keep_stochastic
    return keep(block, at, measurement)


def _keep_stochastic(block: NDArray[np.float32], at: LevelPositions, measurement: Measurement) -> BlockSums:
    return BlockSums(
        squared_norm(block),
        float(at.steps**2 @ at.bernoulli_variances),
        float(at.nonzero_probabilities.sum()),
        measurement.squared_errors,
        measurement.nonzeros,
        stochastic_tests(block, at, measurement),
    )


def _keep_nearest(block: NDArray[np.float32], at: LevelPositions, measurement: Measurement) -> BlockSums:
    return BlockSums(
        squared_norm(block),
        float(at.steps**2 @ (at.positions - at.nearest_levels) ** 2),
        float(np.count_nonzero(at.nearest_levels)),
        measurement.squared_errors,
        measurement.nonzeros,
        nearest_tests(at, measurement),
    )


def add_blocks(blocks: Iterable[BlockSums]) -> BlockSums:
    """Return the sums over all blocks, at least one."""
    # One block at a time, so that a vector is never held twice.
    return reduce(_add, blocks)


def _add(a: BlockSums, b: BlockSums) -> BlockSums:
    return BlockSums(
        a.squared_norm + b.squared_norm,
        a.exact + b.exact,
        a.nonzeros_exact + b.nonzeros_exact,
        a.squared_errors + b.squared_errors,
        a.nonzeros + b.nonzeros,
        # Blocks draw words of tensors of their own, so their tests are of independent sums.
        {name: test + b.tests[name] for name, test in a.tests.items()},
    )
