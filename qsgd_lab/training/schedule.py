"""The learning rate as an explicit function of the step."""

from __future__ import annotations

from collections.abc import Callable


def linear(step: int, rising: int, num_steps: int) -> float:
    """Fall to zero in a straight line, from the end of the warm-up on."""
    return (num_steps - step) / (num_steps - rising)


def constant(_step: int, _rising: int, _num_steps: int) -> float:
    """Stay at the peak."""
    return 1.0


def steps(step: int, _rising: int, num_steps: int) -> float:
    """Divide by 10 at half and again at three quarters of all steps (He et al. 2016)."""
    return 1.0 if 2 * step < num_steps else 0.1 if 4 * step < 3 * num_steps else 0.01


#: Name -> share of the peak, as a function of the step, the number of warm-up steps and the number of steps.
SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "linear": linear,
    "constant": constant,
    "steps": steps,
}


def learning_rate(step: int, num_steps: int, peak: float, warmup: float, schedule: str = "linear") -> float:
    """Return the learning rate of a step: up linearly over the share `warmup`, then as `schedule` has it.

    Parameters
    ----------
    step : int
        0 to num_steps - 1.
    num_steps : int
    peak : float
    warmup : float
        Share of the steps, in [0, 1).
    schedule : str
        Key of `SCHEDULES`.

    Examples
    --------
    >>> [round(learning_rate(t, 10, 1.0, 0.2), 3) for t in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    >>> [round(learning_rate(t, 8, 1.0, 0.0, "steps"), 3) for t in (0, 3, 4, 5, 6, 7)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    rising = int(num_steps * warmup)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * SCHEDULES[schedule](step, rising, num_steps)
