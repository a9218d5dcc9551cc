"""Any compressors at equal wire bits: error against the bits of whole messages, beside the bounds of both.

A figure that serves biased and unbiased methods alike is the *variance*, E|Q|^2 |v|^2 / (E<Q, v>)^2 - 1: that
of the output scaled until its mean along v is v. Scaling takes no bits. Of an unbiased method it is the
variance, and of a projection of error e, such as top-k, e / (1 - e).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.registry import Spec
from qsgd_lab.stream import Stream
from qsgd_lab.theory.arguments import float32_vector, nonzero_vector, number, whole

#: The name that means every listed method at all of its settings.
ALL = "all"


@dataclass(frozen=True)
class EqualBitsRow:
    """One compressor at one setting on one vector of n coordinates.

    Attributes
    ----------
    compressor, label : str
        Its text, and its name in tables.
    method : str
        The method's name, with what was chosen other than the default: ``qsgd, max``.
    unbiased : bool
        Whether it claims to be.
    source : str
        The vector.
    dim, trials, seed : int
    bits : float
        Of whole messages of one node, a coordinate; the mean over the trials.
    error : float
        The mean of ||Q(v) - v||^2 / ||v||^2.
    variance : float
        The same after the best scaling, set beside unbiased methods: see the module. Infinite if nothing of
        the vector is sent.
    """

    compressor: str
    label: str
    method: str
    unbiased: bool
    source: str
    dim: int
    trials: int
    seed: int
    bits: float
    error: float
    variance: float

    @property
    def curve(self) -> str:
        """The settings that differ from this one in the first option alone have the same."""
        spec = COMPRESSORS.parse(self.compressor)
        first = spec.method.options[:1]
        return str(
            replace(spec, options={**spec.options, **{option.name: option.default for option in first}})
        )

    @property
    def least_error(self) -> float:
        """The rate-distortion bound on the error of normal vectors: 4^-bits."""
        return float(4.0**-self.bits)

    @property
    def least_variance(self) -> float:
        """The same for unbiased compressors: 1 / (4^bits - 1)."""
        return float(1 / np.expm1(self.bits * np.log(4)))


def settings_of(texts: Iterable[str]) -> list[str]:
    """Return the texts, with every listed method's settings in the place of "all".

    Raises
    ------
    ValueError
        If a text names nothing.
    """
    found: dict[str, None] = {}
    for text in texts:
        if text != ALL:
            found[str(COMPRESSORS.parse(text))] = None
            continue
        for name, method in COMPRESSORS.methods().items():
            if method.is_listed and not method.is_wrapper:
                found.update(
                    (str(COMPRESSORS.parse(setting)), None) for setting in method.settings or (name,)
                )
    return list(found)


def family(spec: Spec) -> str:
    """Return a method's name and the choices other than its default, such as ``hsq, greedy``."""
    chosen = [
        str(spec.options[option.name])
        for option in spec.method.options
        if option.choices and spec.options[option.name] != option.default
    ]
    inner = [] if spec.inner is None else [family(spec.inner)]
    return ", ".join([spec.method.name, *chosen, *inner])


def matrix_layout(num_coordinates: int) -> Layout:
    """Return one matrix, as square as a power of two of rows makes it: what methods of low rank factor."""
    n, rows = whole("num_coordinates", num_coordinates), 1
    while n % (2 * rows) == 0 and 4 * rows * rows <= n:
        rows *= 2
    return Layout(((rows, n // rows) if rows > 1 else (n,),))


def measure_at_equal_bits(
    text: str,
    vector: NDArray[np.float32],
    *,
    source: str = "",
    layout: Layout | None = None,
    trials: int = 4,
    seed: int = 0,
) -> EqualBitsRow:
    """Send a vector as one node's first gradient, each time with other random words, and measure.

    Parameters
    ----------
    text : str
        Of a compressor.
    vector : float32, shape (n,)
        Not zero.
    source : str
        The vector's name.
    layout : Layout, optional
        Of its tensors; by default `matrix_layout`.
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
    wide = nonzero_vector("vector", vector)
    layout = layout or matrix_layout(vector.size)
    spec = COMPRESSORS.parse(text)
    compressor, squares = spec.make(), float(wide @ wide)
    along, lengths, errors, bits = (np.empty(trials) for _ in range(4))
    decoded = np.empty(vector.size, np.float32)
    for trial in range(trials):
        exchange = SimulatedExchange(compressor, 1, seed, layout)
        exchange.mean(vector[None], trial, decoded)
        sent = decoded.astype(np.float64)
        along[trial], lengths[trial] = sent @ wide / squares, sent @ sent / squares
        errors[trial] = (sent - wide) @ (sent - wide) / squares
        counted = exchange.ledger.bits_per_coordinate()
        bits[trial] = counted.get("message", counted.get("fp32", np.nan))
    scale = along.mean() ** 2
    return EqualBitsRow(
        compressor=str(spec),
        label=spec.label,
        method=family(spec),
        unbiased=bool(compressor.is_unbiased),
        source=source,
        dim=vector.size,
        trials=trials,
        seed=seed,
        bits=float(bits.mean()),
        error=float(errors.mean()),
        # Rounding may leave a little less than nothing.
        variance=max(float(lengths.mean() / scale) - 1, 0.0) if scale > 0 else float("inf"),
    )


def variance_at(rows: Sequence[EqualBitsRow], bits: float) -> float | None:
    """Return the least variance that a method's rows have at a number of bits, or None outside their range.

    Between two settings that differ in the method's first option alone, such as its bits, the logarithm of
    the variance is interpolated: settings in between, such as other numbers of levels, come close to that.

    Parameters
    ----------
    rows : sequence of EqualBitsRow
        Of one vector.
    bits : float
        A coordinate, above 0.
    """
    bits = number("bits", bits, above=0)
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if 0 < row.variance < np.inf:
            curves.setdefault(row.curve, []).append((row.bits, float(np.log(row.variance))))
    found = []
    for points in curves.values():
        known, logarithms = np.array(sorted(points)).T
        if known[0] <= bits <= known[-1]:
            found.append(float(np.exp(np.interp(bits, known, logarithms))))
    return min(found, default=None)


@dataclass(frozen=True)
class Comparison:
    """Two methods at the bits of one setting of the second.

    Attributes
    ----------
    source, rival : str
        The vector, and the second method's text.
    bits, rival_variance, variance : float
        The bits a coordinate, and both variances there.
    """

    source: str
    rival: str
    bits: float
    rival_variance: float
    variance: float

    @property
    def ratio(self) -> float:
        """How many times the rival's variance the first method has."""
        return self.variance / self.rival_variance


def compare_at_equal_bits(
    rows: Sequence[EqualBitsRow], name: str = "qsgd", rival: str = "eden"
) -> list[Comparison]:
    """Return a method's variance at the bits of each setting of a rival, vector by vector.

    Settings outside the range of the method's own bits are left out.

    Parameters
    ----------
    rows : sequence of EqualBitsRow
    name, rival : str
        Names of methods; all of their choices count.
    """
    found = []
    for row in rows:
        if row.method.split(",")[0] != rival or row.variance == 0:
            continue
        own = [o for o in rows if o.method.split(",")[0] == name and o.source == row.source]
        variance = variance_at(own, row.bits)
        if variance is not None:
            found.append(Comparison(row.source, row.compressor, row.bits, row.variance, variance))
    return found
