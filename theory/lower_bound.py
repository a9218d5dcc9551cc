r"""The rate-distortion bound: the fewest bits that a compressor of any design can send.

If E||C(x) - x||^2 <= alpha ||x||^2 for every x, then it holds on average over normal vectors, and no code
for n independent normal numbers with mean squared distortion alpha uses fewer than (n/2) log2(1/alpha)
bits; so some x needs that many, also with randomness shared between sender and receiver. An unbiased
compressor of variance factor omega, shrunk by 1/(1 + omega), has alpha = omega / (1 + omega).

References
----------
Cover, Thomas: Elements of Information Theory, 2nd ed., Theorem 10.3.2 (normal source).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import numbers
from qsgd_lab.theory.arrays import Floats


def contraction_bits(contraction_error: ArrayLike) -> Floats:
    """Return (1/2) log2(1 / alpha): the least bits a coordinate of a compressor with relative error alpha.

    Parameters
    ----------
    contraction_error : array_like
        alpha in (0, 1], with E||C(x) - x||^2 <= alpha ||x||^2 for every x.

    Raises
    ------
    ValueError
        If some alpha is outside (0, 1].
    """
    alpha = numbers("contraction_error", contraction_error, above=0, most=1)
    bits: Floats = -0.5 * np.log2(alpha)
    return bits


def unbiased_bits(variance_factor: ArrayLike) -> Floats:
    """Return (1/2) log2(1 + 1 / omega): the least bits a coordinate of an unbiased compressor.

    Parameters
    ----------
    variance_factor : array_like
        omega > 0, with E||C(x) - x||^2 <= omega ||x||^2 for every x. Without variance no finite number of
        bits is enough.

    Raises
    ------
    ValueError
        If some omega is not above 0.

    Examples
    --------
    >>> unbiased_bits([0.25, 1.0]).round(3)
    array([1.161, 0.5  ])
    """
    omega = numbers("variance_factor", variance_factor, above=0)
    # alpha = omega / (1 + omega), so 1 / alpha = 1 + 1 / omega. In two forms: 1 / omega of a small omega is
    # infinite, and that of a large one is lost beside the 1.
    small, large = np.minimum(omega, 1), np.maximum(omega, 1)
    nats = np.where(omega < 1, np.log1p(small) - np.log(small), np.log1p(1 / large))
    bits: Floats = np.asarray(0.5 * nats / np.log(2))
    return bits
