"""Bytes, bandwidths and lengths of time as people read them: three significant digits and a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BYTES = ("B", "kB", "MB", "GB", "TB")
_BITS_A_SECOND = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
_SECONDS = ("ns", "µs", "ms", "s")


def format_bytes(count: float) -> str:
    """Return a number of bytes, in powers of 1000.

    Examples
    --------
    >>> format_bytes(59_842), format_bytes(4.2e9)
    ('59.8 kB', '4.2 GB')
    """
    return _scaled(count, _BYTES)


def format_bandwidth(bytes_a_second: float) -> str:
    """Return a bandwidth in bits a second, as links are sold.

    Examples
    --------
    >>> format_bandwidth(1.25e8), format_bandwidth(math.inf)
    ('1 Gbit/s', '∞')
    """
    return _scaled(8 * bytes_a_second, _BITS_A_SECOND)


def format_seconds(seconds: float) -> str:
    """Return a length of time below a few minutes.

    Examples
    --------
    >>> format_seconds(0.0805), format_seconds(5e-5), format_seconds(0)
    ('80.5 ms', '50 µs', '0 s')
    """
    return _scaled(seconds * 1e9, _SECONDS) if seconds else "0 s"


def format_pays(between: tuple[float, float] | None) -> str:
    """Return where quantization pays, in words.

    Examples
    --------
    >>> [format_pays(w) for w in ((0.0, 1.25e8), (1.25e8, math.inf), (0.0, math.inf), None)]
    ['below 1 Gbit/s', 'above 1 Gbit/s', 'always', 'never']
    """
    if between is None:
        return "never"
    low, high = between
    if math.isinf(high):
        return "always" if low == 0 else f"above {format_bandwidth(low)}"
    return f"below {format_bandwidth(high)}"


def _scaled(value: float, units: Sequence[str]) -> str:
    if math.isinf(value):
        return "∞"
    rounded = float(f"{value:.3g}")
    rank = 0
    while rank + 1 < len(units) and rounded >= 1000:
        rounded, rank = rounded / 1000, rank + 1
    return f"{rounded:.6g} {units[rank]}"
