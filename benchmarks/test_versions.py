"""Levels at fixed width: a message of version 2 takes no longer than one of version 1.

Run ``pytest benchmarks/test_versions.py -s``. Both versions are timed in one process, in turn, in CPU time of
the thread; what is compared is the least time of each.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.bench.timing import least_times

ROUNDS = 60
MOST = 1.02  # of version 1's time


@pytest.mark.parametrize("num_levels", [1, 7, 127])
@pytest.mark.parametrize("size", [2**17, 2**22])
def test_fixed_levels_take_no_longer_than_in_version_1(size, num_levels):
    """Encoding and decoding fixed levels takes at most 2 % more than in version 1."""
    gradient = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    quantized = ql.quantize(gradient, levels=num_levels)
    first, second = (ql.encode(quantized, layout="fixed", version=version) for version in (1, 2))
    out = np.empty(size, np.int8)
    calls = {
        "encode": [partial(ql.encode, quantized, layout="fixed", version=version) for version in (1, 2)],
        "decode": [partial(ql.decode, message, out=out) for message in (first, second)],
        "decode to new memory": [partial(ql.decode, message) for message in (first, second)],
        "values": [partial(ql.decode_values, message) for message in (first, second)],
    }

    ratios = {}
    for name, pair in calls.items():
        calls_by_version = dict(zip(("old", "new"), pair, strict=True))
        old, new = least_times(calls_by_version, ROUNDS, max(1, 2**19 // size)).values()
        ratios[name] = new / old
        line = f"n {size}, s {num_levels}, {name}: {1e6 * old:.1f} us, {1e6 * new:.1f} us, {new / old:.3f}"
        sys.stdout.write(line + "\n")
    assert max(ratios["encode"], ratios["decode"]) <= MOST, ratios
