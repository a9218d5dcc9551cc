"""The search for a learning rate: from any curve with one minimum and a cliff, near the minimum, cheaply."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.problems.rate_search import FARTHEST, STAGES, RateScales, best_scale, next_scales


def searched(loss, stages=STAGES):
    """Return every factor that a search tries, with its loss."""
    known = {}
    while wanted := next_scales(known, stages):
        assert not set(wanted) & set(known)
        known |= {scale: loss(scale) for scale in wanted}
    return known


@given(
    optimum=st.floats(-9, 9),
    left=st.floats(0.1, 9),
    right=st.floats(0.1, 9),
    cliff=st.floats(0.6, 8),
    stages=st.sampled_from([STAGES, STAGES[:1]]),
)
def test_the_search_ends_near_the_minimum(optimum, left, right, cliff, stages):
    """Within one step of the last stage's spacing, inside what was tried, in at most 13 evaluations."""

    def loss(scale):
        distance = math.log2(scale) - optimum
        return math.inf if distance > cliff else max(-left * distance, right * distance)

    known = searched(loss, stages)
    best = best_scale(known)
    assert abs(math.log2(best) - optimum) <= math.log2(stages[-1]) + 1e-9
    assert min(known) < best < max(known)
    assert len(known) <= 13


def test_flat_and_diverged_curves_end():
    """Of equal losses the smaller factor is better: a start among diverged runs leads to smaller rates."""
    assert best_scale(searched(lambda _: math.inf)) == 1 / FARTHEST
    assert best_scale(searched(lambda scale: math.inf if scale > 1e-3 else 1.0)) == 1 / FARTHEST
    assert best_scale(searched(lambda scale: -scale)) == FARTHEST


def test_a_lucky_run_beyond_the_limit_of_stability_is_not_chosen():
    """What ended finite at a rate above one that diverged does not count; the search goes on below."""

    def loss(scale):
        return 0.5 if scale == 1 else math.inf if scale > 1 / 50 else 0.1 + abs(math.log2(scale * 100))

    assert best_scale({0.25: math.inf, 1.0: 0.5}) == 0.25
    assert 1 / 256 <= best_scale(searched(loss)) <= 1 / 50


@pytest.mark.parametrize(
    ("text", "first", "choice"),
    [
        ("1", [1.0], False),
        ("0.5,2", [0.5, 2.0], True),
        ("auto", [0.25, 1.0], True),
        ("coarse", [0.25, 1.0], True),
    ],
)
def test_what_the_option_means(text, first, choice):
    """A list is tried whole, a single number leaves no choice, auto and coarse search."""
    scales = RateScales.parse(text)
    assert scales.next({}) == first
    assert scales.is_choice == choice
    assert text in ("auto", "coarse") or not scales.next(dict.fromkeys(first, 1.0))


@pytest.mark.parametrize("text", ["", "0", "-1,1", "inf", "nan", "fast", "1;2"])
def test_what_is_no_factor_is_refused(text):
    """One line that says what would be right."""
    with pytest.raises(ValueError, match=r"numbers above 0, such as 0\.5,1,2, or auto or coarse"):
        RateScales.parse(text)
