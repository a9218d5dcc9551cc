"""`qsgd-lab bench`: its figures and names."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner

import qsgd_lab as ql
from qsgd_lab.bench.rivals import OURS, RIVALS
from qsgd_lab.cli.bench import RIVAL_NAMES, bench


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
        levels, one_bucket.norms, 127, "max", one_bucket.partition, one_bucket.shape
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
