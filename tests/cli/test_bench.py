"""`qsgd-lab bench`: its figures and names."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import qsgd_lab as ql
from qsgd_lab.bench import rivals
from qsgd_lab.bench.rivals import OURS, RIVALS
from qsgd_lab.bench.torch_methods import TORCH_METHODS, hadamard
from qsgd_lab.cli.bench.bench import RIVAL_NAMES, bench
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.errors import UsageError


def run(*arguments):
    """Run the command on a short gradient."""
    return CliRunner().invoke(bench, ["--dim", "2^13", "--repeats", "1", *arguments], catch_exceptions=False)


def test_figures_name_what_they_are():
    """JSON has conditions and, for each s, every coder of ours both ways with the bits of its message."""
    found = json.loads(run("--levels", "1,7", "--format", "json").stdout)

    coded = [row for row in found["figures"] if row["operation"] in ("encode", "decode")]
    assert found["conditions"]["coordinates"] == 8192
    assert len(coded) == 2 * 2 * len(OURS)
    assert all(row["ns"] > 0 and row["bits"] > 0 for row in coded)
    assert {row["num_levels"] for row in coded} == {1, 7}


def test_a_gradient_from_a_file_is_measured(tmp_path):
    """The bits are those of the file's levels, GB/s of its float32 numbers; short files are refused."""
    path = tmp_path / "gradient.npy"
    np.save(path, np.zeros((2, 4096), np.float16))
    found = json.loads(run("--input", str(path), "--levels", "7", "--format", "json").stdout)

    rows = {row["name"]: row for row in found["figures"] if row["operation"] == "encode"}
    assert found["conditions"]["coordinates"] == 8192
    assert rows["ranged"]["bits"] < rows["dense omega"]["bits"]
    assert all(row["gigabytes"] == pytest.approx(4 / row["ns"]) for row in found["figures"])
    np.save(path, np.zeros(100, np.float32))
    for refused in (["--input", str(path)], ["--input", str(path), "--threads", "2"]):
        with pytest.raises(UsageError, match=r"too short|leave out"):
            run(*refused)


def test_rivals_decode_what_they_encode():
    """Rivals that need no further package are measured on the same levels; text shows all of them."""
    text = run("--levels", "7", "--against", "naive,torch").stdout

    for name in ("NumPy copy", "dense omega", "naive", "torch, as GRACE", "torch, bucketed"):
        assert name in text


def test_the_naive_loop_writes_the_same_code():
    """The naive loop's bits are those of a dense omega chunk, so that its speed is compared on equal work."""
    levels = ql.quantize(
        np.random.default_rng(0).standard_normal(4096).astype(np.float32), levels=127, norm="max"
    ).levels
    rival = RIVALS["naive"](levels, 127)
    one_bucket = ql.quantize(np.zeros(4096, np.float32), levels=127, bucket_size="model")
    quantized = ql.QuantizedGradient(
        levels, np.ones_like(one_bucket.norms), 127, "max", one_bucket.partition, one_bucket.shape
    )
    message = ql.encode(quantized, "omega", "dense")
    payload = message[-8 - message.sizes.payload : -8].tobytes()

    assert bytes(rival.encode()) == payload.rstrip(b"\0").ljust(rival.encode().size, b"\0")


def test_names_of_rivals_are_the_suites():
    """The command's names are torch and the rivals of the suite; others are refused with these."""
    assert ("torch", *RIVALS) == RIVAL_NAMES
    refused = CliRunner().invoke(bench, ["--against", "huffman"])
    assert refused.exit_code == 2
    assert "zstandard" in refused.stderr


def test_absent_rivals_are_named(monkeypatch):
    """A rival whose package cannot be imported is named on stderr, in the text and in the JSON."""
    monkeypatch.setitem(sys.modules, "bitarray", None)  # importing it raises ImportError
    monkeypatch.setitem(rivals.RIVALS, "bitarray", raise_import_error)
    arguments = ("--levels", "7", "--against", "bitarray,naive")
    text, found = run(*arguments), run(*arguments, "--format", "json")
    assert "Not installed, left out: bitarray; python -m pip install bitarray" in text.stderr
    assert "Not installed, left out: bitarray" in text.stdout
    assert json.loads(found.stdout)["conditions"]["not_installed"] == ["bitarray"]


def raise_import_error(*_):
    """Replace a rival without its package."""
    raise ImportError


def test_threads_and_the_training_step_are_measured_on_request():
    """Each section is there if asked for, with a row for each operation and each way to agree."""
    found = json.loads(run("--levels", "7", "--threads", "2", "--end-to-end", "--format", "json").stdout)

    assert [row["operation"] for row in found["threads"]] == ["quantize", "encode", "decode"]
    assert all(row["processor"] > 0 and row["wall"] > 0 for row in found["threads"])
    step, *ways = found["end_to_end"]
    assert (step["num_levels"], step["share"]) == (None, 1.0)
    assert len(ways) == 3
    shares = [way["milliseconds"] / step["milliseconds"] for way in ways]
    assert [way["share"] for way in ways] == pytest.approx(shares)  # of seconds: rounded otherwise


def test_text_shows_what_was_asked_for():
    """Both tables follow the figures with their meaning, and neither is shown unasked."""
    text = run("--levels", "1", "--threads", "2").stdout

    assert "by the clock" in text
    assert "AlexNet" not in text


def test_the_ways_to_agree_are_the_same_sum():
    """What is timed by messages and what is timed fused add up the same values of the same eight nodes."""
    from qsgd_lab.bench.end_to_end import NODES
    from qsgd_lab.compressors import QSGD
    from qsgd_lab.ledger import Ledger
    from qsgd_lab.stream import Stream

    rows = np.random.default_rng(0).standard_normal((NODES, 5000), dtype=np.float32)
    total, mean = np.zeros((2, 5000), np.float32)
    messages = [
        ql.quantize_and_encode(
            row, code="omega", layout="dense", levels=7, node=node, tensor_sizes=(1000, 4000)
        )
        for node, row in enumerate(rows)
    ]
    ql.add_decoded(messages, total)
    compressor = QSGD(levels=7)
    states = compressor.init_nodes(NODES, Layout.of(5000, (1000, 4000)))
    compressor.mean(NodeRows(rows), states, Stream(), mean, Ledger())

    assert np.array_equal(mean, total / np.float32(NODES))


def test_every_method_has_a_speed_beside_eager_torch():
    """JSON has a row for each listed compressor; all but fp32 have eager torch beside them."""
    found = json.loads(run("--compressor", "all", "--dim", "2^12", "--format", "json").stdout)["compressors"]
    methods = COMPRESSORS.methods().items()

    assert [row["compressor"] for row in found] == [n for n, m in methods if m.is_listed and not m.is_wrapper]
    for row in found:
        assert all(row[name] > 0 for name in ("compress", "decompress", "pack", "unpack", "copy", "bits"))
        assert (row["torch"] is None) == (row["compressor"] == "fp32")


def test_text_names_the_methods_and_their_ratios():
    """Texts are canonical; a wrapper, and EDEN of other bits, have no eager form of their own."""
    asked = ("--compressor", "ef( sign )", "--compressor", "eden(bits=1)", "--compressor", "top-k")
    lines = run(*asked).stdout.splitlines()

    for name in ("ef(sign)", "eden(bits=1)", "top-k"):
        assert any(line.startswith(name) for line in lines)
    assert any("of copy" in line for line in lines)


@pytest.mark.parametrize("option", [["--threads", "2"], ["--against", "torch"], ["--backend", "cuda"]])
def test_what_only_codes_have_is_refused_beside_compressors(option):
    """Options that measure QSGD's codes end in one line."""
    with pytest.raises(UsageError, match="leave out --compressor"):
        run("--compressor", "sign", *option)


NORMAL = np.random.default_rng(3).standard_normal(2**14).astype(np.float32)


def test_eager_torch_does_what_the_methods_do():
    """EDEN has its error, .1331, four-bit blocks .0138, and top-k the same coordinates."""
    x = torch.from_numpy(NORMAL)
    options = {name: COMPRESSORS.parse(name).options for name in TORCH_METHODS}
    codes, scales = TORCH_METHODS["eden"](x, options["eden"])
    integers, steps = TORCH_METHODS["block-int"](x, options["block-int"])
    places, values = TORCH_METHODS["top-k"](x, options["top-k"])
    centroids = torch.tensor([-1.5104176, -0.4527800, 0.4527800, 1.5104176])[codes.long()]
    # <Q, v> = |v|^2, so that |Q|^2 - |v|^2 is the error.
    eden_error = ((centroids * scales) ** 2).sum() / (x * x).sum() - 1
    smoothed = (x.view(-1, 32) @ hadamard(torch.eye(32))).view(-1, 128)
    block_error = ((integers * steps - smoothed) ** 2).sum() / (x * x).sum()

    assert float(eden_error) == pytest.approx(0.1331, rel=0.03)
    assert float(block_error) == pytest.approx(0.0138, rel=0.05)
    assert set(values.tolist()) == set(NORMAL[np.argsort(-np.abs(NORMAL))[: places.numel()]].tolist())


@pytest.mark.parametrize("name", ["qsgd", "nuqsgd", "terngrad"])
def test_eager_rounding_is_unbiased(name):
    """The mean of what eager torch's codes represent is the gradient's length along itself."""
    torch.manual_seed(0)
    x, options = torch.from_numpy(NORMAL), dict(COMPRESSORS.parse(name).options)
    options |= {"clip": 0} if name == "terngrad" else {}
    codes, scales = TORCH_METHODS[name](x, options)
    levels, most = codes.double(), 2 ** options.get("bits", 1) - 1
    if name == "nuqsgd":  # levels 1, 2, ... are powers of two, up to 1
        levels = levels.sign() * 2.0 ** (levels.abs() - most)
    decoded = levels * scales / (most if name == "qsgd" else 1)

    assert float((decoded.reshape(-1) * x).sum() / (x * x).sum()) == pytest.approx(1, abs=0.06)
