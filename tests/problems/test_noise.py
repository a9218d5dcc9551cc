"""Noise that is kept: what is played again is what a fresh generator draws, wherever the memory ends."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from small_suite import SmallCurved

from qsgd_lab.problems import noise
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.simulate import simulate


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(noise, "_recordings", {})


def draws(generator, count=6):
    """Return some draws of two kinds."""
    parts = [generator.standard_normal((2, 50), dtype=np.float32), generator.integers(9, size=3)]
    return np.concatenate([part.reshape(-1) for _ in range(count // 2) for part in parts])


@pytest.mark.parametrize("kept", [0, 1, 500, 10**6])
def test_played_again_is_what_a_generator_draws(monkeypatch, kept):
    """With memory for no draw, one, some or all of them; callers may overwrite what they are given."""
    monkeypatch.setattr(noise, "KEPT_BYTES", kept)
    expected = draws(np.random.default_rng(1))

    for _ in range(3):
        player = noise.replayed("one", lambda: np.random.default_rng(1))
        first = player.standard_normal((2, 50), dtype=np.float32)
        again = copy.deepcopy(player)
        later = [player.integers(9, size=3), again.integers(9, size=3)]
        first *= 0
        assert (later[0] == later[1]).all()
        assert (draws(noise.replayed("one", lambda: np.random.default_rng(1))) == expected).all()


def test_the_longest_unused_is_given_up(monkeypatch):
    """Memory is for all together: a new recording takes the place of the oldest."""
    monkeypatch.setattr(noise, "KEPT_BYTES", 1000)
    for seed in (1, 2, 3):
        draws(noise.replayed(seed, lambda seed=seed: np.random.default_rng(seed)))
        assert sum(each.bytes for each in noise._recordings.values()) < 1000 + 400

    assert 1 not in noise._recordings
    assert (
        draws(noise.replayed(1, lambda: np.random.default_rng(1))) == draws(np.random.default_rng(1))
    ).all()


@pytest.mark.parametrize("spec", ["synchronous", "qsvrg(interval=16)", "local-sgd(interval=4)"])
def test_runs_with_kept_noise_are_the_same(monkeypatch, spec):
    """Fresh noise, noise being kept, and noise played again after another rate: the same bits."""
    method, problem = ComparedMethod.parse(spec), SmallCurved(4, 3)

    def run(scale=1.0):
        trace = simulate(
            problem,
            method.algorithm,
            method.compressor,
            nodes=4,
            num_steps=32,
            repeats=range(3),
            seed=5,
            rate_scale=scale,
        )
        return trace.errors.tolist()

    monkeypatch.setattr(SmallCurved, "keeps_noise", False)
    fresh = run()
    monkeypatch.setattr(SmallCurved, "keeps_noise", True)
    run(scale=0.25)

    assert run() == run() == fresh
