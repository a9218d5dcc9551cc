"""The learning rate as a function of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.training.schedule import warmup_then_linear


@given(st.integers(2, 500), st.floats(1e-4, 10), st.floats(0, 0.9))
def test_rises_then_falls(num_steps: int, peak: float, warmup: float) -> None:
    """The rate is positive, at most its peak, reaches it once warm, rises before and falls after."""
    rates = [warmup_then_linear(t, num_steps, peak, warmup) for t in range(num_steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(peak)
    assert min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_documented_values() -> None:
    """Ten steps, two of them rising, by hand."""
    rates = [warmup_then_linear(t, 10, 0.8, 0.2) for t in range(10)]
    assert rates == pytest.approx([0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
