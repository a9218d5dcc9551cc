"""What a hook has sent, and how long it took."""

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
    """

    steps: int
    bytes_sent: int
    bytes_of_fp32: int
    seconds: float
    skipped: int
    residual_norm: float
    processor_seconds: float
