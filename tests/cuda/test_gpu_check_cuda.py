"""What `make gpu-check` runs on a device, in the simulator, on little."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from qsgd_lab.bench.device_suite import measure_device
from qsgd_lab.gpu_check.cases import Scope, gradient, run_check, run_checks
from qsgd_lab.gpu_check.checks import CHECKS

SCOPE = Scope(sizes=(1, 300), large=530, repeats=2, levels=(7, 200), device="cpu")


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[name for name, _ in CHECKS])
def test_every_check_passes(name, check):
    """Each check finds the kernels equal to the CPU's, and does compare."""
    outcome = run_check(name, check, SCOPE)

    assert outcome.failure is None
    assert outcome.comparisons > 1
    assert outcome.coordinates in (300, 530)


def test_a_difference_is_found():
    """A wrong bit, a wrong shape and a kernel that fails are failures that say where, and others go on."""
    x = np.float32([0.0, 1.0])

    def wrong_bit(scope):
        yield "zeros", 2, torch.from_numpy(np.float32([-0.0, 1.0])), x

    def wrong_shape(scope):
        yield "ones", 2, x[:1], x

    def fails(scope):
        yield "nothing", 0, x, x
        raise RuntimeError("out of memory")

    outcomes = list(run_checks([("bit", wrong_bit), ("shape", wrong_shape), ("fails", fails)], SCOPE))

    assert [outcome.name for outcome in outcomes] == ["bit", "shape", "fails"]
    assert "zeros: element 0 is" in outcomes[0].failure
    assert "ones: float32(1,) instead of float32(2,)" in outcomes[1].failure
    assert outcomes[2].failure == "RuntimeError: out of memory"


def test_gradients_of_odd_seeds_are_not_finite():
    """The checks' gradients hold zeros, and NaN and infinities where the seed is odd."""
    assert np.isfinite(gradient(1000, 2)).all()
    assert (gradient(1000, 2) == 0).any()
    assert not np.isfinite(gradient(1000, 3)).all()


def test_the_benchmark_measures_everything_against_the_copy():
    """Each operation is called and timed; a fraction is bytes a second over the copy's."""
    calls = []

    def clock(run, repeats):
        run()
        calls.append(repeats)
        return 1e-3 * len(calls)

    figures = list(measure_device(1030, 4, device="cpu", against_torch=False, timer=clock, levels=(7,)))

    assert calls == [4] * len(figures)
    assert [figure.operation for figure in figures] == [
        "copy",
        "quantize and pack",
        "unpack and dequantize",
        "quantize",
        "dequantize",
        "encode, dense omega",
        "decode, dense omega",
        "decode and add, dense omega",
        "encode, sparse gamma",
        "decode, sparse gamma",
        "quantize, decode, average and count 8 nodes",
    ]
    assert figures[0] == dataclasses.replace(figures[0], bytes_moved=8240, seconds=1e-3, copy_fraction=1.0)
    assert figures[1].bytes_moved == 4 * 1030 + 515 + 12
    assert figures[1].copy_fraction == pytest.approx((4647 / 2e-3) / (8240 / 1e-3))
