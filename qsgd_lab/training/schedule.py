"""The learning rate as an explicit function of the step."""

from __future__ import annotations


def warmup_then_linear(step: int, num_steps: int, peak: float, warmup: float) -> float:
    """Return the learning rate of a step: up linearly over the share `warmup`, then down linearly to zero.

    Parameters
    ----------
    step : int
        0 to num_steps - 1.
    num_steps : int
    peak : float
    warmup : float
        Share of the steps, in [0, 1).

    Examples
    --------
    >>> [round(warmup_then_linear(t, 10, 1.0, 0.2), 3) for t in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    rising = int(num_steps * warmup)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (num_steps - step) / (num_steps - rising)
