"""Counts of what a hook has sent, and the time that it took."""

from __future__ import annotations

from typing import NamedTuple


class Statistics(NamedTuple):
    """What a hook has done so far, on this rank.

    Attributes
    ----------
    steps : int
        Synchronisations.
    bytes_sent : int
        By this rank.
    bytes_of_fp32 : int
        What a ring all-reduce of float32 would have sent.
    seconds : float
        In the hook's thread: compressing, sending, waiting for others, adding up.
    skipped : int
        Synchronisations with a NaN or an infinity at some rank.
    residual_norm : float
        L2 norm of what has not been sent; in units of the gradient.
    processor_seconds : float
        Of these seconds, those of the processor: without waiting.
    collective : str or None
        "all-gather" or "two-phase": what was asked for, or chosen. None before `QSGDHook.register`.
    latency_s, bytes_per_s : float or None
        Of a message between ranks, and of a link, as rank 0 measured them at the registration.
    """

    steps: int
    bytes_sent: int
    bytes_of_fp32: int
    seconds: float
    skipped: int
    residual_norm: float
    processor_seconds: float
    collective: str | None = None
    latency_s: float | None = None
    bytes_per_s: float | None = None
