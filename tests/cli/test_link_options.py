"""Bandwidths and short times as the command line reads them."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.cli.options.quantities import BANDWIDTH, SHORT_TIME, parse_bandwidth, parse_short_time


@pytest.mark.parametrize(
    ("text", "bytes_a_second"),
    [
        ("1Gbit/s", 1.25e8),
        ("50Mbit/s", 6.25e6),
        ("1 Gbps", 1.25e8),
        ("2.5Gb/s", 3.125e8),
        ("12.5MB/s", 1.25e7),
        (" 400 Gbit/s ", 5e10),
        ("56kbit/s", 7000),
        ("8bit/s", 1),
    ],
)
def test_bandwidths(text: str, bytes_a_second: float) -> None:
    """Bits and bytes a second with decimal prefixes, by the usual names."""
    assert parse_bandwidth(text) == pytest.approx(bytes_a_second, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50us", 5e-5), ("50 µs", 5e-5), ("80ms", 0.08), ("1.5s", 1.5), ("200ns", 2e-7), ("0", 0), ("0s", 0)],
)
def test_times(text: str, seconds: float) -> None:
    """Seconds with their prefixes; nothing else can go without a unit than nothing."""
    assert parse_short_time(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        *("", "fast", "1", "1Gbit", "1gbit/s", "-1Gbit/s", "0Gbit/s", "1e3Mbit/s", "1Gbit/h", "1,5Gbit/s"),
        *("999999999Tbit/s", "nanbit/s", "١Gbit/s", "1Gbit/s\n2"),
    ],
)
def test_bad_bandwidths(text: str) -> None:
    """What is not a bandwidth is refused in one line that names the right form."""
    with pytest.raises(ValueError, match="write a bandwidth such as") as refusal:
        parse_bandwidth(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "5", "-1ms", "1m", "1h", "4000s", "1e-3s", "inf s", "0.5"])
def test_bad_times(text: str) -> None:
    """What is not a short time is refused in one line that names the right form."""
    with pytest.raises(ValueError, match="write a time such as"):
        parse_short_time(text)


@given(st.text(alphabet="0123456789.kMGTBbits/unm ", max_size=12))
def test_any_text_gives_a_number_or_a_refusal(text: str) -> None:
    """No text gives anything but a sane number or a ValueError."""
    for parse, low, high in ((parse_bandwidth, 1 / 8, 1.25e14), (parse_short_time, 0.0, 3600.0)):
        try:
            assert low <= parse(text) <= high
        except ValueError as error:
            assert "write a" in str(error)  # noqa: PT017 (both outcomes are right)


def test_options_name_themselves() -> None:
    """As an option, a bad value is a usage error, and a default may be a number."""

    @click.command()
    @click.option("--link", type=BANDWIDTH, default=1.25e8)
    @click.option("--latency", type=SHORT_TIME, default="50us")
    def command(link: float, latency: float) -> None:
        click.echo(f"{link:g} {latency:g}")

    runner = CliRunner()
    assert runner.invoke(command, []).output == "1.25e+08 5e-05\n"
    assert runner.invoke(command, ["--link", "1GB/s", "--latency", "2ms"]).output == "1e+09 0.002\n"
    bad = runner.invoke(command, ["--link", "fast"])
    assert bad.exit_code == 2
    assert "Invalid value for '--link': 'fast' is not a bandwidth" in bad.output
