"""The learning rate as a function of the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.training.schedule import learning_rate


@given(st.integers(2, 500), st.floats(1e-4, 10), st.floats(0, 0.9))
def test_rises_then_falls(num_steps: int, peak: float, warmup: float) -> None:
    """The rate is positive, at most its peak, reaches it once warm, rises before and falls after."""
    rates = [learning_rate(t, num_steps, peak, warmup) for t in range(num_steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(peak)
    assert min(rates) > 0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_documented_values() -> None:
    """Ten steps, two of them rising, by hand."""
    rates = [learning_rate(t, 10, 0.8, 0.2) for t in range(10)]
    assert rates == pytest.approx([0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_the_other_schedules() -> None:
    """Constant stays at the peak; steps divide by ten at half and at three quarters of all steps."""
    assert {learning_rate(t, 10, 0.8, 0.0, "constant") for t in range(10)} == {0.8}
    rates = [learning_rate(t, 16, 1.0, 0.125, "steps") for t in range(16)]
    assert rates == pytest.approx([0.5] + [1.0] * 7 + [0.1] * 4 + [0.01] * 4)
