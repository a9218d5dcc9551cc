"""``--compressor`` of variance, code-length and encode: one path for every method of the registry."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import qsgd_lab as ql
from qsgd_lab.cli.main import cli
from qsgd_lab.compressors import COMPRESSORS, Layout, Method
from qsgd_lab.stream import Stream

#: Every listed method that works alone, at its defaults, and some around others.
METHODS = [
    name for name, method in COMPRESSORS.methods().items() if method.is_listed and not method.is_wrapper
]
WRAPPED = [f"{n}(qsgd)" for n, m in COMPRESSORS.methods().items() if m.is_listed and m.is_wrapper]
ROWS = METHODS + WRAPPED
TWO_LEVELS = ["block-int(machine=2)", *(f"block-int(bits={b},rounding=stochastic,machine=3)" for b in (4, 8))]
STACKS = [
    *TWO_LEVELS,
    "ef(sign)",
    "ef21(top-k)",
    "diana(qsgd)",
    "nuqsgd(convention=published)",
    "damped(natural)",
]
N = 600


def run(*arguments):
    """Run the command line; what it raises is the test's to judge."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def asked(*names):
    """Return the options that name compressors."""
    return [part for name in names for part in ("--compressor", name)]


def test_variance_measures_every_method():
    """A row each: the exact error is in or near the interval, and no unbiased method is far off."""
    told = run("variance", "--dim", 4000, "--trials", 8, "--format", "json", *asked(*ROWS, *STACKS))
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)

    assert [row["compressor"] for row in rows] == [str(COMPRESSORS.parse(name)) for name in ROWS + STACKS]
    for row in rows:
        if row["exact"] is not None:
            allowed = 4 * (row["ci_high"] - row["ci_low"]) + 1e-5 * row["exact"]
            assert abs(row["relative_error"] - row["exact"]) <= allowed, row
            assert row["factor"] is None or row["exact"] <= row["factor"] * (1 + 1e-6)
        assert row["bias_z"] is None or abs(row["bias_z"]) < 15  # of eight trials: Student's tails are long


def test_code_length_counts_every_method():
    """Bits at fixed width are the formula's, and whole messages are what the wire packs."""
    told = run("code-length", "--dim", N, "--trials", 2, "--format", "json", *asked(*ROWS))
    assert told.exit_code == 0, told.output
    for row in json.loads(told.stdout):
        compressor = COMPRESSORS.parse(row["compressor"]).make()
        if None not in (row["expected_bits"], row["fixed_bits"]):
            assert row["fixed_bits"] == pytest.approx(row["expected_bits"], rel=0.05)
        if row["compressor"] in ("terngrad", "natural", "sign"):
            x = np.random.default_rng(0).standard_normal(N, np.float32)
            payload, _ = compressor.compress(x, compressor.init(Layout.of(N)), Stream())
            assert row["message_bits"] == 8 * len(compressor.wire.pack(payload)) / N


def test_rows_without_a_formula_are_named_in_one_line():
    """Where only the measurement is known, text says so; where all formulas are, there is no such line."""
    plain = COMPRESSORS.parse("natural").make
    COMPRESSORS.register(
        Method("no-theory", plain, (), lambda _: "no theory", summary="it works", source="me")
    )
    for command in ("variance", "code-length"):
        options = ("--dim", 100, "--trials", 2)
        told = " ".join(run(command, *options, *asked("eden", "no-theory")).stdout.split())
        assert "is known: no-theory." in told
        assert "is known:" not in run(command, *options, *asked("eden", "hsq(mode=greedy)")).stdout


def test_bench_and_tradeoff_measure_every_method():
    """A row each at sizes that take no time; bench of methods alone is in test_bench.py."""
    bench = run("bench", "--dim", 2**12, "--repeats", 1, "--format", "json", *asked(*WRAPPED))
    normal = ("--dim", 2**10, "--trials", 2, "--distribution", "normal", "--format", "json")
    tradeoff = run("tradeoff", *normal, *asked(*ROWS))
    assert (bench.exit_code, tradeoff.exit_code) == (0, 0), (bench.exception, tradeoff.exception)

    assert [row["compressor"] for row in json.loads(bench.stdout)["compressors"]] == WRAPPED
    assert {row["compressor"] for row in json.loads(tradeoff.stdout)} == set(ROWS)


def test_a_sweep_trains_with_every_method(tmp_path):
    """``reproduce`` puts all of them in one table with fp32, or warns why a stacking is not sound."""
    rng = np.random.default_rng(0)
    classes = np.arange(36) % 3
    images = (0.1 * rng.random((36, 8, 8)) + classes[:, None, None] / 3).astype(np.float32)
    np.savez(
        tmp_path / "data.npz",
        x_train=images[:24],
        y_train=classes[:24],
        x_test=images[24:],
        y_test=classes[24:],
    )
    options = ("--epochs", 1, "--global-batch", 8, "--nodes", 2, "--seeds", 0, "--jobs", 1)
    told = run(
        "reproduce", "--data", tmp_path / "data.npz", "--runs", tmp_path / "runs", *options, *asked(*ROWS)
    )
    assert told.exit_code == 0, told.output

    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/run.json")]
    assert len(records) == len(ROWS)
    assert np.isfinite([record["result"]["final_train_loss"] for record in records]).all()
    assert "Warning: top-k: it leaves out the same part" in told.stderr


@pytest.mark.parametrize("form", ["text", "csv", "latex"])
@pytest.mark.parametrize("command", ["variance", "code-length"])
def test_rows_come_in_every_format(command, form):
    """Text, CSV and LaTeX name the method and its vector."""
    told = run(command, "--dim", 100, "--trials", 2, "--format", form, *asked("rand-k(fraction=0.1)"))

    assert told.exit_code == 0
    assert "rand-k(fraction=0.1)" in told.stdout
    assert "normal" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["variance", "--compressor", "qsdg"], "did you mean 'qsgd'"),
        (["variance", "--compressor", "qsgd", "--bits", "2"], "leave out --bits"),
        (["code-length", "--compressor", "qsgd", "--layout", "sparse"], "leave out --layout"),
        (["variance", "--compressor", "sign", "--distribution", "worst-case"], "worst case is known of QSGD"),
        (["variance", "--compressor", "ef21(rand-k)"], "EF21 needs a contraction"),
        (["encode", "g.npy", "-o", "m", "--compressor", "sign", "--bits", "2"], "leave out --bits"),
        (["encode", "g.npy", "-o", "m", "--compressor", "sgn"], "unknown compressor 'sgn'"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message):
    """A bad text, or an option that only QSGD has, ends with exit code 2 and its reason."""
    told = run(*arguments)
    text = " ".join(f"{told.stderr} {told.exception}".split())  # what main() prints is the exception

    assert getattr(told.exception, "exit_code", told.exit_code) == 2 or told.exit_code == 2
    assert message in text


@pytest.mark.parametrize("name", [*METHODS, "nuqsgd(convention=published)", "ef(sign)", "ef21(top-k)"])
def test_every_message_goes_through_files(name, tmp_path):
    """Encode writes what decodes, alone, to what the method decodes; inspect reads it."""
    x = np.random.default_rng(0).standard_normal(N, np.float32)
    np.save(tmp_path / "g.npy", x)
    compressor = COMPRESSORS.parse(name).make()
    payload, _ = compressor.compress(x, compressor.init(Layout.of(N)), Stream(7, 3, 2))
    message, received = tmp_path / "m.qsgd", tmp_path / "d.npy"
    stream = ("--seed", 7, "--node", 3, "--step", 2)

    told = run("encode", tmp_path / "g.npy", "-o", message, "--compressor", name, *stream)
    assert told.exit_code == 0, told.output
    assert f"{message.stat().st_size} bytes" in told.stderr
    assert run("decode", message, "-o", received, "--max-coordinates", N).exit_code == 0
    inspected = run("inspect", message, "--format", "json")
    assert inspected.exit_code == 0
    assert json.loads(inspected.stdout)["file"] == str(message)
    assert run("inspect", message).exit_code == 0

    dense = compressor.decompress(payload)
    if name == "grbs":  # a shard: the block alone
        dense = dense[dense != 0]
    assert np.load(received).reshape(-1).tobytes() == dense.tobytes()


def test_one_array_is_encoded_by_what_raw_small_makes_of_it(tmp_path):
    """A file has one tensor: in float32 if it is small, else the wrapped method's message; both decode."""
    np.save(tmp_path / "g.npy", np.ones(10, np.float32))
    for up_to, kind in ((10, "raw"), (9, "sparse")):
        name, message = f"raw-small(top-k(fraction=1),up_to={up_to})", tmp_path / "m.qsgd"
        told = run("encode", tmp_path / "g.npy", "-o", message, "--compressor", name)
        assert told.exit_code == 0, told.output
        assert json.loads(run("inspect", message, "--format", "json").stdout)["kind"] == kind
        assert ql.decode_values(message.read_bytes(), max_coordinates=10).tolist() == [1] * 10


def test_a_matrix_is_encoded_by_its_factors(tmp_path):
    """The array's shape is its matrix's: rank 2 of 64 x 100 is 2 (64 + 100) numbers, not 6400."""
    np.save(tmp_path / "g.npy", np.ones((64, 100), np.float32))
    told = run("encode", tmp_path / "g.npy", "-o", tmp_path / "m.qsgd", "--compressor", "powersgd")

    assert told.exit_code == 0, told.output
    assert 4 * 328 < (tmp_path / "m.qsgd").stat().st_size < 4 * 328 + 100


def test_messages_that_need_more_than_themselves_are_refused(tmp_path):
    """Damping's factor is not in a message: encode says so, and which it is, 1 / (1 + 1/8)."""
    np.save(tmp_path / "g.npy", np.ones(10, np.float32))
    for name in ("damped(natural)", "ef(damped(natural))"):
        told = run("encode", tmp_path / "g.npy", "-o", tmp_path / "m.qsgd", "--compressor", name)
        assert told.exit_code == 2
        assert "multiply by 0.888889, which follows from the configuration" in told.stderr
    assert not (tmp_path / "m.qsgd").exists()
    assert ql.decode(ql.encode(ql.quantize(np.ones(10, np.float32), 2))).shape == (10,)
