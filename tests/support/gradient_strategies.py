"""Hypothesis strategies: gradients with everything that breaks quantizers in them, and how to cut them up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

#: Values at which float arithmetic changes its manners.
SPECIAL_VALUES = tuple(
    float(np.float32(value))
    for value in (0.0, -0.0, 1.0, 2.0**-64, 1e-40, -1.5e-45, 1e38, -3.4028235e38, np.nan, np.inf, -np.inf)
)
FINITE_SPECIAL_VALUES = tuple(value for value in SPECIAL_VALUES if np.isfinite(value))

sizes = st.one_of(
    st.integers(0, 40),
    st.sampled_from([127, 128, 129, 511, 512, 513, 1023, 1025]),
    st.integers(0, 3000),
)
bucket_sizes = st.one_of(st.integers(1, 40), st.sampled_from([128, 512, 513, 4096, "tensor", "model"]))
level_counts = st.one_of(st.integers(1, 255), st.integers(1, 32767), st.sampled_from([1, 127, 128, 32767]))
words32 = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**31, 2**32 - 1]))
seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 2**32 - 1, 2**32, 2**64 - 1]))
norms = st.sampled_from(["l2", "max"])
roundings = st.sampled_from(["stochastic", "nearest"])
stream_versions = st.sampled_from([1, 2])


def _bulk(kind: str, rng: np.random.Generator, n: int) -> np.ndarray:
    if kind == "one-hot":
        return (np.arange(n) == rng.integers(max(n, 1))) * 1.0
    if kind == "constant":
        return np.full(n, rng.uniform(-1, 1))
    return rng.normal(size=n) * (rng.random(n) < {"dense": 1, "sparse": 0.05, "zero": 0}[kind])


@st.composite
def gradients(draw, special_values=SPECIAL_VALUES):
    """Draw a flat float32 gradient of 0 to 3000 coordinates, of any magnitude, with some special values."""
    n = draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["dense", "sparse", "zero", "one-hot", "constant"]))
    x = (_bulk(kind, rng, n) * 10.0 ** draw(st.integers(-44, 37))).astype(np.float32)
    if n > 0:
        places = st.tuples(st.integers(0, n - 1), st.sampled_from(special_values))
        for place, value in draw(st.lists(places, max_size=4)):
            x[place] = value
    return x


@st.composite
def tensor_sizes(draw, n):
    """Cut n coordinates into tensors, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=4)))
    return tuple(int(b - a) for a, b in pairwise([0, *cuts, n]))
