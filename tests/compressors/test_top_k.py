"""Top-K: which coordinates are sent, what they cost in bytes, and the formulas."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors.methods.top_k import TopK
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.errors import MessageError
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import top_k as theory

FRACTIONS = st.sampled_from([0.001, 0.01, 0.3, 0.99, 1.0])


def naive_largest(values, k):
    """Return the indices of the k largest magnitudes, ties to the first; NaN is the largest of all."""

    def rank(i):
        magnitude = abs(float(values[i]))
        is_nan = magnitude != magnitude
        return (-float("inf") if is_nan else -magnitude, not is_nan, i)

    return sorted(sorted(range(len(values)), key=rank)[:k])


def sent(x, fraction):
    """Return (the compressor, the payload of a gradient)."""
    compressor = TopK(fraction)
    return compressor, compressor.compress(x, compressor.init(Layout.of(x.size)), Stream())[0]


@given(gradients.gradients(), FRACTIONS)
def test_the_largest_magnitudes_are_sent_as_they_are(x, fraction):
    """K = max(1, round(fraction n)) coordinates, chosen as by sorting, with their bits; zeros elsewhere."""
    compressor, payload = sent(x, fraction)
    k = min(x.size, max(1, round(fraction * x.size)))
    indices = naive_largest(x, k)
    values = compressor.decompress(payload)

    assert payload.indices.tolist() == indices
    assert payload.values.tobytes() == x[indices].tobytes()
    assert values[indices].tobytes() == x[indices].tobytes()
    assert np.count_nonzero(np.delete(values, indices)) == 0


@given(gradients.gradients(), FRACTIONS)
def test_a_message_is_read_back_and_has_the_size_that_was_counted(x, fraction):
    """Unpacking gives the payload; "message" is 8 len(bytes); "fixed" is the theory's."""
    compressor, payload = sent(x, fraction)
    message = compressor.wire.pack(payload)
    read = compressor.wire.unpack(message, Layout.of(x.size))
    size = compressor.wire.size(payload)

    assert read.indices.tolist() == payload.indices.tolist()
    assert read.values.tobytes() == payload.values.tobytes()
    assert size.bits["message"] == 8 * len(message)
    assert size.bits["fixed"] == theory.bits(x.size, payload.indices.size)


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_message_is_refused(data):
    """Any change of bytes, any cut and any addition raises MessageError, and nothing else."""
    x = np.random.default_rng(0).normal(size=50).astype(np.float32)
    compressor, payload = sent(x, 0.1)
    message = bytearray(compressor.wire.pack(payload))
    kind = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    if kind == "flip":
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del message[data.draw(st.integers(0, len(message) - 1)) :]
    else:
        message += bytes(data.draw(st.integers(1, 9)))

    with pytest.raises(MessageError):
        compressor.wire.unpack(bytes(message), Layout.of(50))


def test_a_message_for_another_gradient_is_refused():
    """A receiver knows how many coordinates it expects."""
    compressor, payload = sent(np.ones(50, np.float32), 0.1)
    with pytest.raises(MessageError, match="not of 51 coordinates"):
        compressor.wire.unpack(compressor.wire.pack(payload), Layout.of(51))


@given(st.integers(1, 200), FRACTIONS, st.integers(0, 5))
def test_the_error_is_the_formula_and_within_the_worst_case(n, fraction, seed):
    """||Q(v) - v||^2 is the sum of the squares left out, at most (1 - k/n) ||v||^2, and can be that."""
    x = np.random.default_rng(seed).normal(size=n).astype(np.float32)
    compressor, payload = sent(x, fraction)
    k = payload.indices.size
    error = float(((compressor.decompress(payload) - x).astype(np.float64) ** 2).sum())

    assert error == pytest.approx(theory.squared_error(x, k), rel=1e-12, abs=1e-30)
    assert error <= theory.worst_case(n, k) * float(x.astype(np.float64) @ x) * (1 + 1e-12)
    assert compressor.variance_factor(n) == theory.worst_case(n, k)
    assert theory.squared_error(np.ones(n), k) == pytest.approx(n * theory.worst_case(n, k))
    assert theory.contraction(n, k) == pytest.approx(k / n)


@pytest.mark.parametrize("function", [theory.worst_case, theory.contraction, theory.bits])
@pytest.mark.parametrize("k", [-1, 11])
def test_the_theory_refuses_what_is_out_of_range(function, k):
    """K is a number of coordinates out of n."""
    with pytest.raises(ValueError, match="from 0 to 10"):
        function(10, k)


@pytest.mark.parametrize(("fraction", "bits"), [(0.001, 11.5), (0.01, 8.1), (0.1, 4.8)])
def test_an_index_takes_little_more_than_its_entropy(fraction, bits):
    """Of 10^5 random positions 0.1, 1 and 10 % take 11.5, 8.1 and 4.8 bits each (entropy 8.07 at 1 %)."""
    x = np.random.default_rng(0).standard_normal(100_000, np.float32)
    compressor, payload = sent(x, fraction)
    k = payload.indices.size
    chunks = -(-k // 4096)
    envelope = 8 * (40 + 16 + -(-10 * chunks // 8) * 8 + 8)  # head, parameters, directory and tail

    assert (compressor.wire.size(payload).bits["message"] - envelope - 32 * k) / k == pytest.approx(
        bits, abs=0.6 if k == 100 else 0.1
    )
