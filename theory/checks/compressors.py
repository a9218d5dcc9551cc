"""Any compressor on one vector: its error and its bits, beside the formulas that its method names."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.registry import Spec
from qsgd_lab.stream import Stream
from qsgd_lab.theory.arguments import choice, float32_vector, nonzero_vector, whole
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


def formula(spec: Spec, name: str) -> Callable[[Any], float] | None:
    """Return a function of a method's file of formulas with its options filled in, or None.

    Parameters
    ----------
    spec : Spec
    name : str
        "expected_error" or "expected_bits", see `qsgd_lab.theory.methods`.

    Raises
    ------
    ValueError
        If it is another name.
    """
    choice("name", name, ("expected_error", "expected_bits"))
    if spec.method.theory is None or spec.inner is not None:
        return None
    module = importlib.import_module(spec.method.theory)
    own = f"{name}_{spec.method.name.replace('-', '_')}"
    function = getattr(module, own, getattr(module, name, None))
    return None if function is None else lambda argument: float(function(argument, **spec.options))


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
    exact, expected = formula(spec, "expected_error"), formula(spec, "expected_bits")
    fixed = [one.get("fixed", one.get("fp32")) for one in bits]
    return CompressorCheck(
        str(spec),
        vector.size,
        trials,
        float(errors.mean()),
        *mean_interval(errors),
        exact=None if exact is None else exact(wide) / squares,
        factor=compressor.variance_factor(vector.size),
        bias_z=float(along.mean()) / spread if compressor.is_unbiased and spread else None,
        fixed_bits=None if None in fixed else float(np.mean(fixed)),  # type: ignore[arg-type]
        message_bits=float(np.mean([one.get("message", one.get("fp32")) for one in bits])),
        expected_bits=None if expected is None else expected(vector.size) / vector.size,
    )
