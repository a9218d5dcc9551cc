"""CSER's bounds against simulated workers, and what it sends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qsgd_lab.theory.cser import block_sparsifier_bits, consensus_bound, cser_gradient_bound

NUM_WORKERS, SIZE, STEP, INTERVAL = 4, 32, 0.1, 4


def sparsify(x: np.ndarray, ratio: int, block: int) -> np.ndarray:
    """Keep one of `ratio` blocks of each row, the same on all workers."""
    kept = np.zeros_like(x)
    width = SIZE // ratio
    kept[:, block * width : (block + 1) * width] = x[:, block * width : (block + 1) * width]
    return kept


def psync(x: np.ndarray, ratio: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the partially synchronised vectors and the residuals, both (workers, size)."""
    sent = sparsify(x, ratio, block)
    residual = x - sent
    return sent.mean(axis=0) + residual, residual


def simulate(reset_ratio: int, gradient_ratio: int, num_steps: int, seed: int) -> dict[str, float]:
    """Run CSER on f = ||x||^2 / 2 with unit noise; return time means of what the bounds speak of."""
    generator = np.random.default_rng(seed)
    start = generator.standard_normal(SIZE)
    x, errors = np.tile(start, (NUM_WORKERS, 1)), np.zeros((NUM_WORKERS, SIZE))
    apart, moment, gradient = [], [], []
    for t in range(1, num_steps + 1):
        gradient.append((x.mean(axis=0) ** 2).sum())
        g = x + generator.standard_normal(x.shape)
        moment.append((g**2).sum(axis=1).mean())
        update, residual = psync(g, gradient_ratio, generator.integers(gradient_ratio))
        x, errors = x - STEP * update, errors - STEP * residual
        if t % INTERVAL == 0:
            reset, fresh = psync(errors, reset_ratio, generator.integers(reset_ratio))
            x, errors = x - errors + reset, fresh
        apart.append(((x - x.mean(axis=0)) ** 2).sum(axis=1).mean())
        assert np.ptp(x - errors, axis=0).max() < 1e-12
    return {
        "gap": float(start @ start) / 2,
        "apart": float(np.mean(apart)),
        "moment": float(np.max(moment)),
        "gradient": float(np.mean(gradient)),
    }


@pytest.mark.parametrize(("reset_ratio", "gradient_ratio"), [(1, 8), (2, 8), (4, 4), (2, 1)])
def test_the_bounds_hold_for_simulated_workers(reset_ratio, gradient_ratio):
    """Disagreement and gradients of CSER with random blocks are below their bounds (delta = 1 / ratio)."""
    seen = simulate(reset_ratio, gradient_ratio, 400, seed=1)
    factors = {"reset_contraction": 1 / reset_ratio, "gradient_contraction": 1 / gradient_ratio}
    common = {"step": STEP, "interval": INTERVAL, "gradient_second_moment": seen["moment"], **factors}

    assert seen["apart"] <= consensus_bound(**common) + 1e-12
    assert seen["gradient"] <= cser_gradient_bound(
        loss_gap=seen["gap"],
        smoothness=1.0,
        num_steps=400,
        num_workers=NUM_WORKERS,
        gradient_variance=SIZE,
        **common,
    )


def test_full_gradients_keep_the_workers_together():
    """delta_2 = 1 is synchronous SGD: no disagreement at all."""
    assert (
        consensus_bound(
            reset_contraction=0.5, gradient_contraction=1.0, step=0.1, interval=8, gradient_second_moment=9.0
        )
        == 0
    )


def test_bits_of_block_sparsifiers():
    """The overall ratio is 1 / (1 / R2 + 1 / (H R1)); an infinite ratio sends nothing."""
    assert block_sparsifier_bits(1024, 64, 8, 8) == 32 * 1024 / 32
    assert block_sparsifier_bits(1024, math.inf, 1, 16) == 32 * 1024 / 16


@pytest.mark.parametrize(("reset", "gradient"), [(0.0, 0.5), (1.5, 0.5), (0.5, -0.1)])
def test_factors_out_of_range_are_refused(reset, gradient):
    """Errors that are never reset, and factors that are not contractions, have no bound."""
    with pytest.raises(ValueError, match="_contraction is"):
        consensus_bound(
            reset_contraction=reset,
            gradient_contraction=gradient,
            step=0.1,
            interval=8,
            gradient_second_moment=9.0,
        )


def test_long_steps_are_refused():
    """The bound needs eta <= 1 / L."""
    with pytest.raises(ValueError, match="step <= 1 / L"):
        cser_gradient_bound(
            loss_gap=1.0,
            smoothness=2.0,
            step=0.6,
            num_steps=1,
            num_workers=1,
            gradient_variance=1.0,
            gradient_second_moment=1.0,
            reset_contraction=1.0,
            gradient_contraction=1.0,
            interval=1,
        )
