"""Speed of the layout `ranged` in the form of this processor, beside dense omega.

Run ``pytest benchmarks/test_ranged.py -s``, and for the form of another processor with, for example,
``NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=`` before it. All calls are made in turn in one process; what is
compared is the least CPU time of the thread.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

import qsgd_lab as ql
from qsgd_lab.bench.timing import least_times
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM

SIZE = 2**22


@pytest.mark.parametrize("num_levels", [1, 7, 15, 127])
def test_ranged_is_shorter_than_omega_and_not_much_slower(num_levels):
    """A message takes fewer bits than dense omega; decoding in vectors takes at most twice as long."""
    gradient = np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)
    quantized, out = ql.quantize(gradient, levels=num_levels), np.empty(SIZE, np.int8)
    omega, ranged = ql.encode(quantized, "omega", "dense"), ql.encode(quantized, layout="ranged", effort=0)
    calls = {
        "omega encode": partial(ql.encode, quantized, "omega", "dense"),
        "ranged encode, one table": partial(ql.encode, quantized, layout="ranged", effort=0),
        "ranged encode, eight": partial(ql.encode, quantized, layout="ranged", effort=1),
        "omega decode": partial(ql.decode, omega, out=out),
        "ranged decode": partial(ql.decode, ranged, out=out),
    }

    times = least_times(calls, 60)

    figures = ", ".join(f"{name} {1e9 * seconds / SIZE:.3f}" for name, seconds in times.items())
    bits = [8 * len(message) / SIZE for message in (omega, ranged)]
    sys.stdout.write(f"{FORM}, s = {num_levels}, ns: {figures}; bits: {bits[0]:.3f}, {bits[1]:.3f}\n")
    assert bits[1] < bits[0]
    assert FORM is None or times["ranged decode"] < 2 * times["omega decode"]
