"""Option types for a link: bandwidth (``1Gbit/s``), latency (``50us``) and other short times (``80ms``)."""

from __future__ import annotations

import re
from typing import Any

import click

BANDWIDTH_FORMS = "write a bandwidth such as 1Gbit/s, 50Mbit/s or 12.5MB/s"
SHORT_TIME_FORMS = "write a time such as 50us, 80ms or 1.5s"

#: Nothing slower or faster than this was ever a link: a bit a second, and 1000 Tbit/s.
MIN_BANDWIDTH, MAX_BANDWIDTH = 1 / 8, 1.25e14
MAX_SHORT_TIME = 3600.0

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_BANDWIDTH = re.compile(_NUMBER + r"\s*([kMGT]?)(bit|b|B)(?:/s|ps)")
_SHORT_TIME = re.compile(_NUMBER + r"\s*(ns|us|µs|μs|ms|s)")
_PREFIXES = {"": 1e0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_bandwidth(text: str) -> float:
    """Read a bandwidth: ``1Gbit/s``, ``1Gbps``, ``50 Mbit/s``; with a capital B, bytes: ``12.5MB/s``.

    Prefixes are powers of 1000, as on the boxes of network cards.

    Returns
    -------
    float
        Bytes a second.

    Raises
    ------
    ValueError
        If `text` has another form, or no link is so slow or so fast. The message names the right form.

    Examples
    --------
    >>> parse_bandwidth("1Gbit/s"), parse_bandwidth("12.5MB/s")
    (125000000.0, 12500000.0)
    """
    match = _BANDWIDTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a bandwidth; {BANDWIDTH_FORMS}")
    number, prefix, unit = match.groups()
    bytes_a_second = float(number) * _PREFIXES[prefix] / (1 if unit == "B" else 8)
    if not MIN_BANDWIDTH <= bytes_a_second <= MAX_BANDWIDTH:
        raise ValueError(f"{text!r} is no link's bandwidth; {BANDWIDTH_FORMS}")
    return bytes_a_second


def parse_short_time(text: str) -> float:
    """Read a time of at most an hour: ``50us``, ``80ms``, ``1.5s``; 0 may go without its unit.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ValueError
        If `text` has another form or is longer. The message names the right form.

    Examples
    --------
    >>> parse_short_time("80ms"), parse_short_time("0")
    (0.08, 0.0)
    """
    if text.strip() == "0":
        return 0.0
    match = _SHORT_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time with its unit; {SHORT_TIME_FORMS}")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_SHORT_TIME:
        raise ValueError(f"{text!r} is longer than an hour; {SHORT_TIME_FORMS}")
    return seconds


class BandwidthType(click.ParamType):  # type: ignore[type-arg]  # generic only since Click 8.4
    """Click type whose value is a ``float``, bytes a second; see `parse_bandwidth`."""

    name = "bandwidth"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a string; hand on a number."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_bandwidth(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ShortTimeType(click.ParamType):  # type: ignore[type-arg]
    """Click type whose value is a ``float``, seconds; see `parse_short_time`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a string; hand on a number."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_short_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


BANDWIDTH = BandwidthType()
SHORT_TIME = ShortTimeType()
