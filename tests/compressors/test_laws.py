"""The laws of every method in the registry, wrappers included: a new row is held to all of them by itself.

``pytest --collect-only -q tests/compressors/test_laws.py`` lists which laws hold of which row, as law[row];
`EXEMPT` says of each other one why it is not asked. What a kernel encodes is held to its reference in the
file of its method; here, a reader made from the wire format's page alone decodes what it packs.
"""

from __future__ import annotations

import math

import gradient_strategies as gradients
import naive_message
import naive_wire2
import numpy as np
import pytest
from compressor_cases import EVERY, refuses_damage
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.stream import Stream
from qsgd_lab.theory.checks.compressors import predicted
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.message import pack

STREAM = Stream(seed=11, node=2, step=5)
N = 256
Z_MAX = 4.5
_SHARD = "a shard: the block alone"
_PARTS = "two lists of tensors, which the receiver's layout puts together"
_FACTOR = "the factor follows from the configuration and is not sent"
#: Law -> row -> why it is not asked.
EXEMPT = {
    "page": {
        "powersgd": "factors, whose product the receiver takes",
        **dict.fromkeys(("grbs", "grbs(ratio=3,values=unbiased)"), _SHARD),
        **dict.fromkeys(("raw-small(qsgd)", "raw-small(qsgd,up_to=20)"), _PARTS),
        **dict.fromkeys(("damped(qsgd)", "damped(qsgd(bits=1,bucket_size=model))"), _FACTOR),
    },
    "words": {"raw-small(qsgd)": "nothing is rounded", "fp32": "nothing is drawn"},
}
#: Rows whose formula is the mean over uniformly random rotations: Hadamard's come so near to it. And
#: hsq's rounding of norms is estimated.
NEAR = {
    "hsq": 0.01,
    "hsq(mode=greedy,norm_bits=0)": 0.05,
    "eden": 0.04,
    "eden(bits=1,scale=mse)": 0.04,
    "rotated-stochastic": 0.06,
}
#: Other options of formulas.
FORMULAS = (
    "top-k(fraction=0.1)",
    "rand-k(fraction=0.3,mask=shared,values=plain)",
    "nuqsgd(bits=2,norm=max,bucket_size=100)",
    "nuqsgd(convention=published,bucket_size=64)",
    "qsgd-shared(bits=2,bucket_size=100)",
    "qsgd-shared(bits=1,norm=l2)",
    "one-bit(bucket_size=100)",
    "block-int(bits=8,smoother=0,block_size=100)",
    "diana(qsgd,first=dense)",
)


def rows(law, more=()):
    """Return the rows of which a law is asked."""
    return sorted({*EVERY, *more} - set(EXEMPT.get(law, ())))


def gaussian(n, seed=0):
    """Return a float32 vector of normal coordinates."""
    return np.random.default_rng(seed).standard_normal(n, np.float32)


def layout_of(sizes):
    """Return tensors of these sizes, matrices where eight divides them: low rank needs some."""
    return Layout(tuple((8, size // 8) if size and size % 8 == 0 else (size,) for size in sizes))


def sent(compressor, x, layout=None, stream=STREAM):
    """Return the payload of a gradient."""
    with np.errstate(all="ignore"):
        return compressor.compress(x, compressor.init(layout or layout_of([x.size])), stream)[0]


def decoded(compressor, x, streams, layout=None):
    """Return what a receiver decodes of a first gradient in each stream, float64, shape (streams, n)."""
    return np.array([compressor.decompress(sent(compressor, x, layout, stream)) for stream in streams], float)


def same_bits(a, b):
    """Whether two float32 arrays have the same bits, the payloads of NaN aside."""
    return bool(((a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))).all())


def hard_vectors():
    """Return float32 vectors of N coordinates: normal, heavy-tailed, sparse, one alone, equal, geometric."""
    rng = np.random.default_rng(5)
    normal, one = rng.standard_normal(N), np.zeros(N)
    one[3] = -2
    sparse = 100 * rng.standard_normal(N) * (rng.random(N) < 0.1)
    others = (1e-3 * rng.standard_t(2, N), sparse, one, np.ones(N), (-0.9) ** np.arange(N))
    return [v.astype(np.float32) for v in (normal, *others)]


def test_exemptions_are_of_rows_that_there_are():
    """An exemption of a row that is gone says nothing."""
    assert {row for of_law in EXEMPT.values() for row in of_law} | set(NEAR) <= set(EVERY)
    listed = {name for name, method in COMPRESSORS.methods().items() if method.is_listed}
    assert {row.split("(")[0] for row in EVERY} >= listed


@pytest.mark.parametrize("name", rows("message"))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_message_gives_back_what_the_payload_decodes_to(name, data):
    """For any gradient in any tensors: unpack(pack(p)) decodes as p does, and "message" is 8 len(pack(p))."""
    x = data.draw(gradients.gradients())
    layout = layout_of(data.draw(st.just([x.size]) | gradients.tensor_sizes(x.size)))
    compressor = EVERY[name]()
    payload = sent(compressor, x, layout)
    message = compressor.wire.pack(payload)
    with np.errstate(all="ignore"):
        values = (
            compressor.decompress(compressor.wire.unpack(message, layout)),
            compressor.decompress(payload),
        )
    size = compressor.wire.size(payload)

    # fp32 is counted as an all-reduce of bare coordinates; its messages have 48 bytes around up8(4 n).
    apart = 8 * (48 + 4 * (x.size % 2)) if name == "fp32" else 0
    assert same_bits(*values)
    assert size.bits.get("message", 0) + 32 * size.raw_coordinates + apart == 8 * len(message)


def read_by_page(message):
    """Return the values that readers made from the pages of the wire formats find, float32."""
    if message[:5] != b"QSGD\x01":
        return np.array(naive_wire2.dense(naive_wire2.decode(message)), np.uint32).view(np.float32)
    found = naive_message.decode(message)
    levels = np.array(found["levels"], float)
    places = np.arange(levels.size) // (found["bucket"] or levels.size)
    return np.float32(levels * np.array(found["norms"], float)[places] / found["s"])


@pytest.mark.parametrize("name", rows("page"))
def test_a_reader_made_from_the_page_decodes_the_same_bits(name):
    """Readers that import nothing of the package give the floats that the kernels decode, bit for bit."""
    compressor, x = EVERY[name](), gaussian(150)
    payload = sent(compressor, x)

    assert same_bits(read_by_page(compressor.wire.pack(payload)), compressor.decompress(payload))


@pytest.mark.parametrize("name", rows("damage"))
def test_a_damaged_message_is_refused(name):
    """Every cut, and every flipped bit, raises MessageError and nothing else."""
    compressor, layout = EVERY[name](), layout_of([40])
    refuses_damage(compressor, compressor.wire.pack(sent(compressor, gaussian(40))), layout)


@pytest.mark.parametrize("name", rows("other"))
def test_a_message_for_another_gradient_is_refused(name):
    """A receiver of 41 or of 39 coordinates refuses a message of 40."""
    compressor = EVERY[name]()
    message = compressor.wire.pack(sent(compressor, gaussian(40)))
    for n in (39, 41):
        with pytest.raises(MessageError):
            compressor.wire.unpack(message, Layout.of(n))


@pytest.mark.parametrize("name", rows("added"))
def test_what_is_added_is_what_the_wire_reads(name):
    """A sum refuses what `unpack` refuses: another kind of message, and one of other tensors."""
    compressor, layout = EVERY[name](), Layout.of(40)
    others = (
        bytes(pack(Raw(gaussian(40)))),
        compressor.wire.pack(sent(compressor, gaussian(40), Layout.of(40, (15, 25)))),
    )
    for message in others:
        total = np.zeros(40, np.float32)
        try:
            compressor.wire.unpack(message, layout)
        except MessageError:
            with pytest.raises(MessageError):
                compressor.add_decoded(message, layout, total)
        else:
            compressor.add_decoded(message, layout, total)


VALUES = np.float32([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1.5, 3.4e38, -3.4e38])


@pytest.mark.parametrize("name", rows("degenerate"))
def test_degenerate_vectors_have_defined_outcomes(name):
    """Zeros stay zeros, finite vectors never become NaN; what is not finite stays so, or is not sent."""
    compressor = EVERY[name]()
    for n in (1, 2, 704):
        for value in VALUES:
            constant, one = np.full(n, value, np.float32), np.zeros(n, np.float32)
            one[n // 2] = value
            for x in (constant, one):
                with np.errstate(all="ignore"):
                    y = compressor.decompress(sent(compressor, x))
                lost = y[~np.isfinite(x)]
                assert (y.dtype, y.shape) == (np.float32, x.shape)
                assert value != 0 or not y.any()
                assert not (np.isfinite(value) and np.isnan(y).any())
                assert not np.isfinite(lost[lost != 0]).any()


@pytest.mark.parametrize("name", rows("resumed"))
def test_a_run_resumes_from_its_states(name):
    """Two steps in one go, and with all states written down and restored between them, agree bit for bit."""
    layout, vectors = layout_of((500, 0, 160)), np.stack([gaussian(660), gaussian(660, 1)])
    means = []
    for resumed in (False, True):
        exchange = SimulatedExchange(EVERY[name](), 2, 7, layout)
        mean = np.empty(660, np.float32)
        exchange.mean(vectors, 0, mean)
        if resumed:
            kept = {part: array.copy() for part, array in exchange.arrays().items()}
            exchange = SimulatedExchange(EVERY[name](), 2, 7, layout)
            exchange.restore(kept)
        exchange.mean(vectors, 1, mean)
        means.append(mean.tobytes())

    assert means[0] == means[1]


@pytest.mark.parametrize("name", rows("words"))
def test_nodes_draw_independent_words_or_the_same(name):
    """Sixteen nodes of one vector: the variance of their mean is a sixteenth, or all send the same.

    Independent over nodes and steps, the mean over nodes varies from step to step by 1/16 of what one node
    varies by; with words that nodes shared it would be all of it.
    """
    steps, nodes, x = 12, 16, gaussian(512)
    compressor = EVERY[name]()
    streams = [Stream(3, node, step) for step in range(steps) for node in range(nodes)]
    values = decoded(compressor, x, streams).reshape(steps, nodes, x.size)
    within = float(values.var(axis=1, ddof=1).mean(axis=0).sum())
    of_means = float(values.mean(axis=1).var(axis=0, ddof=1).sum())

    if (values == values[:, :1]).all():
        assert compressor.aggregates == "sums" or of_means == 0
    else:
        assert 0.7 < of_means / (within / nodes) < 1.4


@pytest.mark.parametrize("name", rows("mean"))
def test_the_mean_and_the_error_are_what_is_claimed(name):
    """Unbiased: the mean is v, along v and in every coordinate. The error keeps within w, and 1 - delta."""
    compressor, trials = EVERY[name](), 100
    factor, delta = compressor.variance_factor(N), compressor.contraction(N)
    for x in hard_vectors():
        values, wide = decoded(compressor, x, [Stream(seed) for seed in range(trials)]), x.astype(float)
        squares = wide @ wide
        errors = ((values - wide) ** 2).sum(axis=1) / squares
        spread = errors.std(ddof=1) / math.sqrt(trials)
        for bound in (factor, None if delta is None else 1 - delta):
            assert bound is None or errors.mean() <= bound * (1 + 1e-6) + Z_MAX * spread + 1e-6
        if compressor.is_unbiased:
            along = (values - wide) @ wide / squares
            assert abs(along.mean()) <= Z_MAX * along.std(ddof=1) / math.sqrt(trials) + 1e-6


@pytest.mark.parametrize("name", rows("error", FORMULAS))
def test_the_error_is_the_formula(name):
    """The mean of ||Q(v) - v||^2 is the expected one within 4.5 standard errors, and below the factor."""
    spec, trials = COMPRESSORS.parse(name), 100
    compressor = spec.make()
    factor = compressor.variance_factor(N)
    for x in hard_vectors()[:3]:
        wide = x.astype(float)
        values = decoded(compressor, x, [Stream(1000 + seed) for seed in range(trials)], Layout.of(N))
        errors = ((values - wide) ** 2).sum(axis=1)
        exact = predicted(spec, wide).error
        slack = Z_MAX * errors.std(ddof=1) / math.sqrt(trials) + NEAR.get(name, 1e-5) * exact

        assert abs(errors.mean() - exact) <= slack
        assert factor is None or exact <= factor * (wide @ wide) * (1 + 1e-6)


@pytest.mark.parametrize("name", rows("bits", FORMULAS))
def test_the_bits_are_the_formula(name):
    """Scales and codes at fixed width take the expected bits, in the mean where blocks differ in size."""
    spec, trials, x = COMPRESSORS.parse(name), 60, gaussian(N)
    compressor = spec.make()
    sizes = [compressor.wire.size(sent(compressor, x, Layout.of(N), Stream(seed))) for seed in range(trials)]
    bits = [size.bits.get("fixed", 0) + 32 * size.raw_coordinates for size in sizes]
    spread = np.std(bits, ddof=1) / math.sqrt(trials)

    assert abs(np.mean(bits) - predicted(spec, x.astype(float)).bits) <= Z_MAX * spread
