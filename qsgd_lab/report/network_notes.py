"""The words about traffic and time: what was measured, what is modelled, and what neither includes."""

from __future__ import annotations

from collections.abc import Iterator

from qsgd_lab.report.options import TableOptions
from qsgd_lab.report.units import format_bandwidth, format_seconds


def traffic_notes() -> Iterator[str]:
    """Yield what the bytes are."""
    yield (
        "Sent: a node's own gradient under its shortest measured code (fixed width or Elias). Moved: what "
        "a node's link carries each way, 2(N−1)/N gradients for the ring all-reduce of fp32 and N−1 messages "
        "for the all-gather of codes, which cannot be added up on the way."
    )


def time_notes() -> Iterator[str]:
    """Yield what the measured seconds are."""
    yield (
        "Measured time: one machine did the work of all N nodes in turn, evaluation included; it is not what "
        "N machines would take, and differs from run to run. A message is coded apart from that."
    )


def network_notes(options: TableOptions) -> Iterator[str]:
    """Yield what is modelled, with the link."""
    compute = (
        "compute as measured, divided by N"
        if options.compute is None
        else f"{format_seconds(options.compute)} of compute"
    )
    link = f"{format_bandwidth(options.link.bandwidth)} and {format_seconds(options.link.latency)} a message"
    yield (
        f"Modelled: one step of a node on links of {link}, nothing overlapped: {compute}, quantizing as "
        "measured for all N, coding where it was measured, and the collective. Speed-up: over fp32. Pays "
        "below: the bandwidth under which the step is faster than that of fp32."
    )
