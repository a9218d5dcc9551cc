"""``tradeoff --compressor`` and its page: whole messages of any methods at equal bits."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import checkout
import numpy as np
import pytest
from click.testing import CliRunner

from qsgd_lab.cli.main import cli
from qsgd_lab.cli.measure import equal_bits
from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.stream import Stream
from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.checks.equal_bits import (
    EqualBitsRow,
    compare_at_equal_bits,
    matrix_layout,
    measure_at_equal_bits,
    settings_of,
    variance_at,
)

MEASURED = Path(checkout.ROOT, "paper", "equal-bits.csv")
STORED = equal_bits.read_rows(MEASURED) if MEASURED.exists() else []


def run(*arguments):
    """Run the command line; what it raises is the test's to judge."""
    return CliRunner().invoke(cli, ["tradeoff", *map(str, arguments)])


def row(bits, variance, method="qsgd", source="normal", text="qsgd"):
    """Return a row of two figures."""
    return EqualBitsRow(text, "label", method, True, source, 10, 4, 0, bits, variance, variance)


def test_all_is_every_listed_method_at_settings_of_its_own():
    """Each listed compressor is there; a method's settings are texts of that method, none twice."""
    texts = settings_of(["all", "qsgd", "ef(sign)"])
    named = [COMPRESSORS.parse(text).method.name for text in texts]
    listed = {n for n, m in COMPRESSORS.methods().items() if m.is_listed and not m.is_wrapper}

    assert len(set(texts)) == len(texts)
    assert set(named) == listed | {"ef"}
    for name, method in COMPRESSORS.methods().items():
        assert all(COMPRESSORS.parse(text).method.name == name for text in method.settings)


def test_variance_is_that_of_the_scaled_output():
    """A projection of error e has e / (1 - e), an unbiased method its error; EDEN's is along v exactly."""
    x = np.random.default_rng(0).standard_normal(1024, np.float32)
    top, rand, eden = (
        measure_at_equal_bits(text, x, trials=trials)
        for text, trials in [("top-k(fraction=0.1)", 2), ("qsgd(bits=4)", 40), ("eden", 2)]
    )

    assert top.variance == pytest.approx(top.error / (1 - top.error), rel=1e-6)
    assert rand.variance == pytest.approx(rand.error, rel=0.05)
    assert eden.variance == pytest.approx(eden.error, rel=1e-4)


@pytest.mark.parametrize("text", ["eden", "top-k", "qsgd(norm=max)", "sign"])
def test_bits_are_those_of_packed_messages(text):
    """Bits a coordinate are 8 len(message) / n, averaged over the trials."""
    x, compressor = np.random.default_rng(1).standard_normal(500, np.float32), COMPRESSORS.parse(text).make()
    layout = matrix_layout(500)
    lengths = [
        len(compressor.wire.pack(compressor.compress(x, compressor.init(layout), Stream(step=step))[0]))
        for step in range(3)
    ]

    assert measure_at_equal_bits(text, x, trials=3).bits == pytest.approx(8 * np.mean(lengths) / 500)


def test_between_settings_the_logarithm_is_interpolated():
    """Between settings of one curve; of several curves the least counts; outside the range there is none."""
    other = [row(1.5, 5.0, text="qsgd(norm=max)"), row(2.5, 0.5, text="qsgd(bits=2,norm=max)")]
    rows = [row(1, 1.0), row(3, 0.01, text="qsgd(bits=7)"), *other]

    assert variance_at(rows, 2) == pytest.approx(0.1)
    assert variance_at(rows, 1) == pytest.approx(1)
    assert variance_at(rows, 3.1) is None
    assert variance_at(other, 2) == pytest.approx(2.5**0.5)
    assert [r.curve for r in rows] == ["qsgd", "qsgd", "qsgd(norm=max)", "qsgd(norm=max)"]
    assert variance_at([row(32, 0.0)], 32) is None
    (compared,) = compare_at_equal_bits(
        [*rows, row(2, 0.05, "eden", text="eden"), row(2, 0.01, "eden", "other", "eden")]
    )
    assert (compared.bits, compared.ratio) == (2, pytest.approx(2))


@pytest.mark.parametrize(("n", "shape"), [(1, (1,)), (7, (7,)), (12, (2, 6)), (65536, (256, 256))])
def test_a_vector_is_one_matrix_where_it_can_be(n, shape):
    """As many rows as a power of two that divides n and does not exceed its root."""
    assert matrix_layout(n) == Layout((shape,))


def test_formats_hold_the_same_figures(tmp_path):
    """CSV read back is JSON; text and LaTeX name each method; the file's rows are read again."""
    asked = ["--compressor", "eden(bits=1)", "--compressor", "top-k(fraction=0.1)", "--dim", "2^10"]
    asked += ["--distribution", "lognormal", "--trials", 2]
    told = {form: run(*asked, "--format", form).stdout for form in ("json", "csv", "text", "latex")}
    records = json.loads(told["json"])
    rows = list(csv.DictReader(io.StringIO(told["csv"])))
    (tmp_path / "rows.csv").write_text(told["csv"])

    assert [float(r["variance"]) for r in rows] == [r["variance"] for r in records]
    assert [equal_bits.record_of(r) for r in equal_bits.read_rows(tmp_path / "rows.csv")] == records
    assert {r["source"] for r in records} == {"lognormal"}
    for record in records:
        assert record["least_error"] == pytest.approx(4 ** -record["bits"])
        assert record["least_variance"] == pytest.approx(1 / (4 ** record["bits"] - 1))
    assert "eden(bits=1)" in told["text"]
    assert "top-k" in told["latex"]


def test_without_a_vector_three_are_measured(monkeypatch, tmp_path):
    """Normal, lognormal and the demo's gradient; --plot draws the same figure twice."""
    gradient = np.random.default_rng(0).standard_normal(60, np.float32)
    monkeypatch.setattr(
        "qsgd_lab.training.gradient_capture.real_gradient", lambda: (gradient, Layout(((6, 10),)))
    )
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        asked = ["--compressor", "powersgd(rank=1)", "--compressor", "sign", "--dim", "2^10"]
        told = run(*asked, "--trials", 2, "--format", "json", "--plot", path)
        assert told.exit_code == 0, told.output

    sources = [(r["source"], r["dim"]) for r in json.loads(told.stdout)]
    assert list(dict.fromkeys(sources)) == [("normal", 1024), ("lognormal", 1024), ("gradient", 60)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compressor", "qsdg"], "did you mean 'qsgd'"),
        (["--compressor", "qsgd", "--bits", "2"], "leave out --bits"),
        (["--compressor", "qsgd", "--distribution", "worst-case"], "worst case is known of QSGD"),
        (["--trials", "3"], "name their --compressor"),
        (["--distribution", "gradient", "--dim", "10"], "leave out --dim"),
        (["--input", "a.npy", "--distribution", "gradient"], "leave out --dim and --distribution"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message):
    """Options that contradict each other end in one line."""
    told = run(*arguments)

    assert told.exit_code != 0
    assert message in " ".join(f"{told.stderr} {told.exception}".split())


def test_the_stored_rows_are_measured_again():
    """Some rows of the committed file, of both drawn vectors, come out to the digit."""
    again = ["eden", "sign", "qsgd(norm=max)", "block-int", "top-k"]
    for source in ("normal", "lognormal"):
        x = draw(source, 2**16, seed=0, num_levels=1, norm="max", bucket_size=1)
        for text in again:
            (stored,) = [r for r in STORED if (r.source, r.compressor) == (source, text)]
            measured = measure_at_equal_bits(text, x, source=source)
            assert (measured.bits, measured.unbiased) == (stored.bits, stored.unbiased)
            assert measured.variance == pytest.approx(stored.variance, rel=1e-6)


def test_the_stored_rows_are_of_all_methods_and_keep_the_bounds():
    """Every setting on three vectors; on normal vectors none is below the rate-distortion bound."""
    by_source = {
        source: [r.compressor for r in STORED if r.source == source] for source in equal_bits.SOURCES
    }

    assert all(texts == settings_of(["all"]) for texts in by_source.values())
    for one in STORED:
        if one.source == "normal" and one.error > 0:
            assert one.error >= one.least_error
            assert one.variance >= one.least_variance


def test_eden_is_ahead_on_normal_vectors_and_qsgd_on_the_gradient():
    """As the page says: 3 to 7 times EDEN's variance on normal vectors, less than it on the gradient."""
    ratios = {
        source: [c.ratio for c in compare_at_equal_bits(STORED) if c.source == source]
        for source in equal_bits.SOURCES
    }

    assert all(2.9 < ratio < 7 for ratio in ratios["normal"])
    assert all(1.7 < ratio < 3 for ratio in ratios["lognormal"][:4])
    assert all(ratio < 0.75 for ratio in ratios["gradient"])
    assert ratios["gradient"][1] < 1 / 5
    assert math.isfinite(sum(ratios["gradient"]))
