"""The check of message lengths: right messages pass, wrong ones are named, its variance bound holds."""

from __future__ import annotations

import naive_theory
import numpy as np
import pytest

from qsgd_lab.theory.checks import code_length as module
from qsgd_lab.theory.checks import message_bits
from qsgd_lab.theory.checks.code_length import check_code_length, sweep_code_length
from qsgd_lab.theory.checks.expected_bits import expected_bits, largest_gap_change
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.message_bits import CHUNK, MessageBits, chunk_bits, measure_messages
from qsgd_lab.theory.elias import CODE_NAMES
from qsgd_lab.theory.elias import code_length as length_of

LAYOUTS = ("fixed", "dense", "dense-signed", "sparse")


def normal_vector(n: int) -> np.ndarray:
    """Return the same normal vector to every test."""
    return np.random.default_rng(3).standard_normal(n).astype(np.float32)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_labs_messages_pass(layout, norm, rounding):
    """Every layout, norm and rounding, with short last buckets and chunks, on vectors kind and unkind."""
    for distribution in ("normal", "cauchy", "onehot", "constant", "worst-case"):
        checks = sweep_code_length(
            (1, 4, 8, 15),
            "delta",
            layout,
            distribution=distribution,
            dim=5000,
            norm=norm,
            rounding=rounding,
            trials=3,
        )
        assert {check.verdict for check in checks} == {"ok"}
        assert all(check.bits_exact <= check.bound_explicit * (1 + 1e-9) for check in checks)
        assert all(check.entropy <= check.bits_exact * (1 + 1e-9) for check in checks if layout != "sparse")


@pytest.mark.parametrize("code", CODE_NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_chunks_are_counted_as_they_are_written(layout, code):
    """The bits of each chunk are those of its code words, written out; each chunk is coded alone."""
    generator = np.random.default_rng(0)
    levels = (generator.integers(-9, 10, CHUNK + 700) * (generator.random(CHUNK + 700) < 0.3)).astype(np.int8)
    written = {
        "fixed": lambda part: 5 * len(part),
        "dense": lambda part: naive_theory.dense_bits(part, code, "nonzero") - 32,
        "dense-signed": lambda part: naive_theory.dense_bits(part, code, "always") - 32,
        "sparse": lambda part: naive_theory.sparse_bits(part, code, "none") - 32,
    }[layout]
    parts = [np.abs(levels[:CHUNK]).tolist(), np.abs(levels[CHUNK:]).tolist()]

    assert chunk_bits(levels, 9, code, layout).tolist() == [written(part) for part in parts]


def test_an_empty_chunk_has_no_sparse_bits():
    """A chunk of zeros sends nothing, in the middle and at the end."""
    levels = np.zeros(3 * CHUNK, np.int8)
    levels[CHUNK + 4] = 1

    assert chunk_bits(levels, 1, "gamma", "sparse").tolist() == [0, 5 + 1 + 1, 0]


@pytest.mark.parametrize("code", CODE_NAMES)
def test_no_split_of_a_gap_changes_more_than_stated(code):
    """Over all splits of all gaps of a chunk, and all last gaps."""
    lengths = length_of(np.arange(1, CHUNK + 1), code)
    most = lengths.max()
    for gap in range(2, CHUNK + 1, 37):
        split = lengths[: gap - 1] + lengths[: gap - 1][::-1] - lengths[gap - 1]
        most = max(most, np.abs(split).max())

    assert most <= largest_gap_change(code)


@pytest.mark.parametrize("s", [1, 3, 15])
def test_the_variance_of_sparse_messages_is_bounded(s):
    """The bound that the alarm rests on is above the variance over 200 messages."""
    vector, setting = normal_vector(4096), QuantizerSetting(1, 512, levels=s)
    words = measure_messages(vector, setting, "omega", "sparse", 200)
    bound = expected_bits(vector, setting, "omega", "sparse").test.variance

    assert 0 < (words.sent - words.padding).var() <= bound


def test_messages_of_another_code_are_caught(monkeypatch):
    """Messages that are delta where gamma is claimed have the wrong length."""

    def other(vector, setting, code, layout, trials):
        return measure_messages(vector, setting, "delta", layout, trials)

    monkeypatch.setattr(module, "measure_messages", other)
    for layout in ("dense", "sparse"):
        check = check_code_length(normal_vector(2**16), QuantizerSetting(3), "gamma", layout)
        assert "WRONG LENGTH" in check.verdict
        assert not check.passed


def test_a_longer_chunk_is_caught(monkeypatch):
    """A chunk of one word too many is a wrong message, though the mean length may pass."""
    counted = message_bits.chunk_bits

    def shorter(levels, num_levels, code, layout):
        bits = counted(levels, num_levels, code, layout)
        return bits - 32 * (np.arange(bits.size) == 0)

    monkeypatch.setattr(message_bits, "chunk_bits", shorter)
    check = check_code_length(normal_vector(2**15), QuantizerSetting(3), "gamma", "sparse")

    assert "WRONG MESSAGE" in check.verdict


def test_what_exceeds_every_bound_is_named(monkeypatch):
    """Messages above the proved bound are said to be."""

    def heavy(vector, setting, code, layout, trials):
        return MessageBits(np.full(trials, 10.0 * vector.size), np.zeros(trials), 0)

    monkeypatch.setattr(module, "measure_messages", heavy)
    check = check_code_length(normal_vector(1000), QuantizerSetting(2), "gamma", "dense")

    assert check.verdict == "WRONG LENGTH, EXCEEDS BOUND"


def test_measured_bits_are_the_messages_own():
    """The measured size is that of norms and payload in the bytes; padding is below a word a chunk."""
    from qsgd_lab.coding.encode import encode
    from qsgd_lab.quantization import quantize

    vector, setting = normal_vector(3 * CHUNK), QuantizerSetting(3, 512, seed=5)
    sizes = encode(quantize(vector, bits=3, seed=5, step=0), "omega", "sparse").sizes
    measured = measure_messages(vector, setting, "omega", "sparse", 1)

    assert measured.sent[0] == 8 * (sizes.norms + sizes.payload)
    assert 0 <= measured.padding[0] < 3 * 32


def test_four_bits_where_the_paper_has_two_point_eight():
    """At s = sqrt(d) a constant vector's real messages take exactly 4 n + 32 a bucket, not 2.8 n + 32."""
    (check,) = sweep_code_length(
        (), "omega", "dense", levels=(16,), distribution="constant", dim=2**14, bucket_size=256
    )

    assert check.bits_measured == check.bits_exact == check.bound_explicit == 2**14 * (4 + 32 / 256)


def test_the_reference_gives_the_same_rows():
    """The plain Python backend quantizes and encodes to the same bits."""
    fast, slow = (
        sweep_code_length((3,), "gamma", "sparse", dim=3000, trials=2, backend=backend)
        for backend in ("auto", "reference")
    )

    assert fast == slow


def test_what_cannot_be_measured_is_refused():
    """An empty vector and a single trial are refused by name."""
    with pytest.raises(ValueError, match="empty"):
        check_code_length(np.zeros(0), QuantizerSetting(2), "gamma", "dense")
    with pytest.raises(ValueError, match="trials is 1"):
        check_code_length(np.ones(4), QuantizerSetting(2), "gamma", "dense", trials=1)
