"""Any compressor on one vector: its error and its bits, beside the formulas that its method names."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.registry import Spec
from qsgd_lab.stream import Stream
from qsgd_lab.theory.arguments import float32_vector, nonzero_vector, whole
from qsgd_lab.theory.checks.statistics import mean_interval


@dataclass(frozen=True)
class CompressorCheck:
    """What a compressor did to a vector of n coordinates, T times over.

    Attributes
    ----------
    compressor : str
        Its text.
    dim, trials : int
        n and T.
    relative_error, ci_low, ci_high : float
        The mean of ||Q(v) - v||^2 / ||v||^2, and Student's interval of 95 % for it.
    exact : float or None
        The expectation for this vector, where the method's file of formulas has it.
    factor : float or None
        What the compressor claims for every vector.
    bias_z : float or None
        Of the mean error along the vector, in standard errors, for unbiased compressors; None where it is
        always the same.
    fixed_bits, message_bits : float
        Bits a coordinate: scales and codes at fixed width; whole messages.
    expected_bits : float or None
        The formula of `fixed_bits`, where there is one.
    """

    compressor: str
    dim: int
    trials: int
    relative_error: float
    ci_low: float
    ci_high: float
    exact: float | None
    factor: float | None
    bias_z: float | None
    fixed_bits: float | None
    message_bits: float
    expected_bits: float | None


class Predicted(NamedTuple):
    """What formulas say of one vector: ``expected_error`` and ``expected_bits``; None where there is none."""

    error: float | None
    bits: float | None


def predicted(spec: Spec, vector: NDArray[np.float64]) -> Predicted:
    """Return what the formulas that a method names say of a vector, its first gradient in one tensor.

    A wrapper's are called with the wrapped compressor's result and its variance factor besides, see
    `qsgd_lab.theory.methods`.

    Raises
    ------
    ValueError
        If the options are out of range.
    """
    vector = nonzero_vector("vector", vector)
    if spec.method.theory is None:
        return Predicted(None, None)
    module = importlib.import_module(spec.method.theory)
    # Both versions of the random words have the same law of each coordinate, and all layouts the same levels.
    options = {
        name: value for name, value in spec.options.items() if name not in ("stream_version", "layout")
    }
    has_bits = spec.options.get("layout", "auto") == "auto"  # of ranged messages there is no formula
    inner: Any = Predicted(None, None) if spec.inner is None else predicted(spec.inner, vector)
    found: list[float | None] = []
    for name, argument, own in zip(Predicted._fields, (vector, vector.size), inner, strict=True):
        common = f"expected_{name}"
        function = getattr(module, f"{common}_{spec.method.name.replace('-', '_')}", None)
        function = function or getattr(module, common, None)
        if name == "bits" and not has_bits:
            function = None
        if function is None or (spec.inner is not None and own is None):
            found.append(None)
            continue
        wrapped = () if spec.inner is None else (own, spec.inner.make().variance_factor(vector.size))
        value = function(argument, *wrapped, **options)
        found.append(None if value is None else float(value))
    return Predicted(*found)


def check_compressor(
    text: str, vector: NDArray[np.float32], *, trials: int = 32, seed: int = 0
) -> CompressorCheck:
    """Send a vector as one node's first gradient, each time with other random words, and measure.

    Parameters
    ----------
    text : str
        Of a compressor, such as ``rand-k(fraction=0.1)``.
    vector : float32, shape (n,)
        Not zero.
    trials : int
        At least 2.
    seed : int

    Raises
    ------
    ValueError
        If the text names nothing that can be made, or an argument is out of its range.
    """
    trials, seed = whole("trials", trials, least=2), Stream(seed).check().seed
    vector = float32_vector("vector", vector)
    wide, layout = nonzero_vector("vector", vector), Layout.of(vector.size)
    if not isinstance(text, str):
        raise ValueError(f"text is {text!r}; it must be that of a compressor, such as 'qsgd(bits=2)'")
    spec = COMPRESSORS.parse(text)
    compressor = spec.make()
    squares = float(wide @ wide)
    errors, along, bits = np.empty(trials), np.empty(trials), []
    decoded = np.empty(vector.size, np.float32)
    for trial in range(trials):
        exchange = SimulatedExchange(compressor, 1, seed, layout)
        exchange.mean(vector[None], trial, decoded)
        error = decoded - wide
        errors[trial], along[trial] = error @ error / squares, error @ wide / squares
        bits.append(exchange.ledger.bits_per_coordinate())
    spread = float(along.std(ddof=1)) / math.sqrt(trials)
    formulas = predicted(spec, wide)
    fixed = [one.get("fixed", one.get("fp32")) for one in bits]
    return CompressorCheck(
        str(spec),
        vector.size,
        trials,
        float(errors.mean()),
        *mean_interval(errors),
        exact=None if formulas.error is None else formulas.error / squares,
        factor=compressor.variance_factor(vector.size),
        bias_z=float(along.mean()) / spread if compressor.is_unbiased and spread else None,
        fixed_bits=None if None in fixed else float(np.mean(fixed)),  # type: ignore[arg-type]
        message_bits=float(np.mean([one.get("message", one.get("fp32")) for one in bits])),
        expected_bits=None if formulas.bits is None else formulas.bits / vector.size,
    )
