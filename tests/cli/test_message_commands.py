"""`qsgd-lab encode`, `decode` and `inspect`: files in, files out, and one line for what is wrong."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import wire2_contents
from click.testing import CliRunner

import qsgd_lab as ql
from qsgd_lab.cli.messages.decode import decode
from qsgd_lab.cli.messages.encode import encode
from qsgd_lab.cli.messages.inspect import inspect
from qsgd_lab.errors import DataMissingError, UsageError
from qsgd_lab.wire.message import dense, pack


@pytest.fixture
def gradient_file(tmp_path):
    """Return a file that holds a gradient of shape (10, 600)."""
    path = tmp_path / "grad.npy"
    np.save(path, np.random.default_rng(0).standard_normal((10, 600)).astype(np.float32))
    return path


def run(command, *arguments):
    """Run a command; what it raises is the test's to judge."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.mark.parametrize("version", [1, 2])
def test_a_gradient_goes_through_files(gradient_file, tmp_path, version):
    """Encode and decode give what the library gives, and tell on stderr what it cost."""
    message, received = tmp_path / "grad.qsgd", tmp_path / "received.npy"
    options = ["--bits", 3, "--code", "omega", "--layout", "dense", "--norm", "max", "--seed", 7]
    options += [] if version == 1 else ["--stream-version", version]  # 1 is the default

    told = run(encode, gradient_file, "-o", message, *options)
    run(decode, message, "-o", received)

    quantized = ql.quantize(np.load(gradient_file), bits=3, norm="max", seed=7, stream_version=version)
    assert message.read_bytes() == ql.encode(quantized, "omega", "dense")
    assert np.load(received).tobytes() == ql.dequantize(quantized).tobytes()
    assert np.load(received).shape == (10, 600)
    assert told.stdout == ""
    assert f"{message.stat().st_size} bytes" in told.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grad.npy", "grad.qsgd", "received.npy"]


def test_a_range_and_levels_are_decoded(gradient_file, tmp_path):
    """--start, --stop and --levels decode a part, or the integers."""
    message, part, levels = tmp_path / "m.qsgd", tmp_path / "part.npy", tmp_path / "levels.npy"
    run(encode, gradient_file, "-o", message, "--levels", 5, "--bucket-size", "tensor")

    run(decode, message, "-o", part, "--start", 4000, "--stop", 4200)
    run(decode, message, "-o", levels, "--levels")

    quantized = ql.quantize(np.load(gradient_file), levels=5, bucket_size="tensor")
    assert np.load(part).tolist() == ql.dequantize(quantized).reshape(-1)[4000:4200].tolist()
    assert np.load(levels).reshape(-1).tolist() == quantized.levels.tolist()


def test_inspect_tells_sizes_levels_and_entropy(gradient_file, tmp_path):
    """Inspect's JSON has sizes that sum to the file's, a histogram that sums to n, and the entropy."""
    message = tmp_path / "m.qsgd"
    run(encode, gradient_file, "-o", message, "--bits", 2, "--code", "gamma")

    description = json.loads(run(inspect, message, "--format", "json").stdout)
    text = run(inspect, message).stdout

    size = message.stat().st_size
    assert (
        description["bytes"]["total"]
        == size
        == min(description["bytes_by_layout_and_code"][f"{layout} gamma"] for layout in ("dense", "sparse"))
    )
    assert sum(description["bytes"].values()) == 2 * size
    assert sum(description["levels"].values()) == 6000
    bits = description["bits_per_coordinate"]
    assert 0 < bits["entropy_of_levels"] <= bits["payload"] < bits["total"]
    assert str(size) in text
    assert "entropy" in text


def test_inspect_knows_empty_gradients_and_nan(tmp_path):
    """A gradient without coordinates, and one with a NaN, are described too."""
    for name, array in (("empty", np.zeros(0, np.float32)), ("nan", np.float32([np.nan, 1]))):
        np.save(tmp_path / f"{name}.npy", array)
        run(encode, tmp_path / f"{name}.npy", "-o", tmp_path / name, "--bits", 1)
        json.loads(run(inspect, tmp_path / name, "--format", "json").stdout)
    assert "NaN" in run(inspect, tmp_path / "nan").stdout


def test_damage_is_named(gradient_file, tmp_path):
    """A damaged message ends decode and inspect with the file's name and what is wrong."""
    message = tmp_path / "m.qsgd"
    run(encode, gradient_file, "-o", message, "--bits", 2)
    message.write_bytes(message.read_bytes()[:-30])

    for command in (inspect, decode):
        extra = ["-o", tmp_path / "x.npy"] if command is decode else []
        with pytest.raises(ql.MessageError, match=r"m\.qsgd: the message should have"):
            run(command, message, *extra)
    assert not (tmp_path / "x.npy").exists()


def test_bad_requests_are_refused(gradient_file, tmp_path):
    """Missing files, wrong files, contradictory options and unwritable places are each one line."""
    out = tmp_path / "out"
    with pytest.raises(DataMissingError, match="there is no file"):
        run(encode, tmp_path / "none.npy", "-o", out, "--bits", 2)
    with pytest.raises(DataMissingError, match="there is no file"):
        run(inspect, tmp_path / "none.qsgd")
    with pytest.raises(UsageError, match="one of --bits and --levels"):
        run(encode, gradient_file, "-o", out)
    with pytest.raises(UsageError, match="folder that exists"):
        run(encode, gradient_file, "-o", tmp_path / "no" / "out", "--bits", 2)
    np.save(tmp_path / "ints.npy", np.arange(3))
    with pytest.raises(UsageError, match="float32"):
        run(encode, tmp_path / "ints.npy", "-o", out, "--bits", 2)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(UsageError, match=r"not a \.npy file"):
        run(encode, tmp_path / "text.npy", "-o", out, "--bits", 2)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ql.MessageError, match="at least 64 bytes"):
        run(inspect, tmp_path / "empty")


def test_version_2_goes_through_files(gradient_file, tmp_path):
    """--wire-version 2 writes what the library writes; decode and inspect read it, and --kind refuses it."""
    message, received = tmp_path / "grad.qsgd", tmp_path / "received.npy"
    told = run(encode, gradient_file, "-o", message, "--bits", 1, "--wire-version", 2)
    run(decode, message, "-o", received, "--kind", "levels", "--kind", "raw")

    quantized = ql.quantize(np.load(gradient_file), bits=1)
    assert message.read_bytes() == ql.encode(quantized, layout="base3")
    assert np.load(received).tobytes() == ql.dequantize(quantized).tobytes()
    assert "(version 2, base3, s = 1)" in told.stderr
    described = json.loads(run(inspect, message, "--format", "json").stdout)
    assert (described["version"], described["kind"], described["payload"]["layout"]) == (2, "levels", "base3")
    assert described["bytes"]["total"] == message.stat().st_size == sum(described["bytes"].values()) / 2
    assert "one array, 1 tensors: shape (10, 600)" in run(inspect, message).stdout
    with pytest.raises(ql.MessageError, match=r"grad\.qsgd: kind levels was not allowed; allowed are sparse"):
        run(decode, message, "-o", received, "--kind", "sparse")


@pytest.mark.parametrize("name", wire2_contents.KINDS)
def test_every_kind_is_inspected_and_decoded(name, tmp_path):
    """Messages of all kinds are described in text and JSON, and decoded within a bound that is asked for."""
    content = wire2_contents.some_content(random.Random(5), name)
    path, received = tmp_path / "m.qsgd", tmp_path / "received.npy"
    around = {"structure": content.structure, "key": content.key, "used": content.used}
    path.write_bytes(bytes(pack(content.payload, **around)))

    assert f"version 2, {name}, " in " ".join(run(inspect, path).stdout.split())
    assert json.loads(run(inspect, path, "--format", "json").stdout)["kind"] == name
    if name not in {"raw", "levels", "rotated", "block-int", "natural", "one-bit", "exponential"}:
        with pytest.raises(UsageError, match="give --max-coordinates"):
            run(decode, path, "-o", received)
    run(decode, path, "-o", received, "--max-coordinates", 10**6)
    assert np.load(received).tobytes() == dense(content.payload).tobytes()
    if name != "levels":
        with pytest.raises(UsageError, match="not levels: leave out --levels"):
            run(decode, path, "-o", received, "--levels")


def test_what_version_1_cannot_say_leaves_no_file(tmp_path):
    """A gradient of 40 dimensions is a usage error that names version 2, and nothing is written."""
    path, message = tmp_path / "grad.npy", tmp_path / "grad.qsgd"
    np.save(path, np.ones((1,) * 40, np.float32))
    result = CliRunner().invoke(encode, [str(path), "-o", str(message), "--bits", "2"])

    assert result.exit_code == 2
    assert "40 dimensions; version 1 has at most 32: take version 2, which has 64" in result.stderr
    assert not message.exists()
    run(encode, path, "-o", message, "--bits", 2, "--wire-version", 2)
    assert ql.decode(message.read_bytes()).shape == (1,) * 40
