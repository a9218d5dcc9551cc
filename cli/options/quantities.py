"""Option types for a link: bandwidth (``1Gbit/s``), latency (``50us``) and other short times (``80ms``).

The option type of ``--bucket-size``: a number of coordinates, or a word.

Lengths of time, as users write and read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from qsgd_lab.cli.options.completion import next_of
from qsgd_lab.cli.options.lists import DIMENSION, parse_dimension

BANDWIDTH_FORMS = "write a bandwidth such as 1Gbit/s, 50Mbit/s or 12.5MB/s"
SHORT_TIME_FORMS = "write a time such as 50us, 80ms or 1.5s"

#: Nothing slower or faster than this was ever a link: a bit a second, and 1000 Tbit/s.
MIN_BANDWIDTH, MAX_BANDWIDTH = 1 / 8, 1.25e14
MAX_SHORT_TIME = 3600.0

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_BANDWIDTH = re.compile(_NUMBER + r"\s*([kMGT]?)(bit|b|B)(?:/s|ps)")
_SHORT_TIME = re.compile(_NUMBER + r"\s*(ns|us|µs|μs|ms|s)")
_COUNT = re.compile(_NUMBER + r"\s*([kKMBGT])")
_THOUSANDS = {"k": 3, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}
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
        raise ValueError(f"{text!r} is not a link's bandwidth; {BANDWIDTH_FORMS}")
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
        """Parse a string; return a number."""
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
        """Parse a string; return a number."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_short_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ParametersType(click.ParamType):  # type: ignore[type-arg]
    """Click type for a number of parameters: ``25.6M``, ``1.3B``, ``2^20``, ``1e6``."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse a string; return an integer."""
        if isinstance(value, int):
            return value
        match = _COUNT.fullmatch(value.strip())
        text = f"{match[1]}e{_THOUSANDS[match[2]]}" if match else value
        try:
            return parse_dimension(text)
        except ValueError:
            self.fail(
                f"{value!r} is not a number of parameters; write 25.6M, 1.3B, 2^20 or 1e6, at most 2^40",
                param,
                ctx,
            )


BANDWIDTH = BandwidthType()
PARAMETERS = ParametersType()
SHORT_TIME = ShortTimeType()


class BucketSizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of coordinates, or a word.

    Parameters
    ----------
    words : mapping
        Each word that is allowed, and its value.
    """

    name = "size"

    def __init__(self, words: Mapping[str, Any]) -> None:
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a string; return an integer, which is how a default is given."""
        if value in self.words:
            return self.words[value]
        try:
            return DIMENSION.convert(value, param, ctx)
        except click.BadParameter as error:
            words = " or ".join(repr(word) for word in self.words)
            self.fail(f"{error.message.rstrip('.')}; or write {words}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the words."""
        return next_of(self.words, incomplete)


#: Of the quantizer as the library takes it.
BUCKET_SIZE = BucketSizeType({"tensor": "tensor", "model": "model"})


_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def format_duration(seconds: float) -> str:
    """Return a length of time in words.

    Examples
    --------
    >>> [format_duration(s) for s in (0.4, 75, 3600 * 5, 86400 * 58)]
    ['1 s', '1 min 15 s', '5 h 0 min', '58 d 0 h']
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """Click type whose value is a number of seconds: ``90``, ``90s``, ``40m``, ``1h30m``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a string; return a number."""
        if isinstance(value, int | float):
            return float(value)
        match = _FORM.fullmatch(value.strip())
        if not match or not any(match.groups()):
            self.fail(f"{value!r} is not a length of time; write it as 90s, 40m or 1h30m", param, ctx)
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(3600 * hours + 60 * minutes + seconds)


DURATION = DurationType()
