"""CSER's family, EF-SGD and QSparse: what they keep, what they send, and which of them are the same."""

from __future__ import annotations

import double_compressors
import numpy as np
import pytest
from algorithm_runs import Run

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.theory.cser import block_sparsifier_bits

START = np.linspace(-1, 2, 12)
RATES = [0.05 / (1 + step / 8) for step in range(24)]


def unlike(node, step, model):
    """Return the gradient of a node's own quadratic, with a little of the step."""
    curvature = 0.2 + (np.arange(12) * (node + 3) % 7) / 7
    return curvature * (model - node) + 0.1 * np.cos(step + np.arange(12))


def dyadic(node, step, model):
    """Return gradients that keep every sum over 4 nodes exact in float32."""
    return (np.round(model * 4) + node - step % 2) / 8


def run(text, compressor="fp32", nodes=4, gradient=unlike, rates=RATES, **more):
    """Return the run of an algorithm over all rates."""
    made = Run(text, START, gradient, nodes, len(rates), compressor, **more)
    made.go(rates)
    return made


def cser(first, second, interval, **more):
    """Return a run of CSER with compressors of float64 for C1 and C2."""
    made = ALGORITHMS.parse(f"cser(interval={interval})").make()
    made._first = first
    return run(made, second, double=True, **more)


DOUBLE = [
    (double_compressors.top_k(3), double_compressors.top_k(2), 4),
    (double_compressors.rand_k(3, 12), double_compressors.rand_k(2, 12), 3),
    (double_compressors.block(2), double_compressors.block(4), 5),
    (double_compressors.DampedQuantizer(3), double_compressors.DampedQuantizer(1), 2),
    (double_compressors.top_k(4), double_compressors.nothing(), 4),
    (double_compressors.block(3), double_compressors.nothing(), 1),
]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(("first", "second", "interval"), DOUBLE)
def test_the_invariants_to_all_digits(first, second, interval, momentum):
    """In float64 x_i - e_i agrees to 1e-14, and the mean model is SGD's along the mean update to 3e-15."""
    made = cser(first, second, interval, momentum=momentum)
    apart = (made.parameters - made.algorithm.errors).numpy()
    assert np.ptp(apart, axis=0).max() < 1e-14
    assert np.ptp(made.models(), axis=0).max() > 1e-3

    mean, momenta = START.copy(), np.zeros((4, 12))
    replayed = Run(made.algorithm, START, unlike, 4, len(RATES), second, momentum=momentum, double=True)
    for step, rate in enumerate(RATES):
        gradients = np.array([unlike(node, step, x) for node, x in enumerate(replayed.models())])
        momenta = momentum * momenta + gradients
        mean = mean - rate * momenta.mean(axis=0)
        replayed.step(step, rate)
        assert replayed.consensus() == pytest.approx(mean, abs=3e-15)


def test_special_cases_to_all_digits():
    """C2 = identity: synchronous, and N = 1: SGD, 3e-16; C2 = 0, H = 1: averaging blocks of models, 2e-15."""
    whole = cser(double_compressors.top_k(2), double_compressors.everything(), 2)
    assert whole.consensus() == pytest.approx(run("synchronous", double=True).consensus(), abs=2e-16)

    alone = cser(double_compressors.top_k(3), double_compressors.top_k(2), 4, nodes=1, momentum=0.5)
    plain = run("synchronous", nodes=1, double=True, momentum=0.5).consensus()
    assert alone.consensus() == pytest.approx(plain, abs=3e-16)

    errors = cser(double_compressors.block(3), double_compressors.nothing(), 1)
    models = ALGORITHMS.parse("cser-blocks(ratio=3)").make()
    models.plan = models.plan._replace(interval=1)  # every step the block of a reset
    models._first = double_compressors.block(3)
    averaged = Run(models, START, unlike, 4, len(RATES), double=True)
    averaged.algorithm.reset_exchange.seed = errors.algorithm.reset_exchange.seed  # the same blocks
    averaged.go(RATES)
    assert averaged.models() == pytest.approx(errors.models(), abs=2e-15)


def test_null_problems_show_nothing():
    """One curvature for all nodes: CSER, CSEA, CSER-PL and synchronous SGD have one mean model, to 1e-13."""

    def alike(node, step, model):
        return 2 * (model - node) + np.cos(7 * node + step + np.arange(12))

    expected = run("synchronous", gradient=alike, double=True).consensus()
    for first, second, interval in DOUBLE:
        found = cser(first, second, interval, gradient=alike).consensus()
        assert found == pytest.approx(expected, abs=1e-13)


FAMILY = [
    ("cser(resets=top-k(fraction=0.3),interval=4)", "top-k(fraction=0.2)"),
    ("cser(resets=grbs(ratio=2),interval=3)", "grbs(ratio=4)"),
    ("cser(resets=damped(qsgd(bits=2)),interval=2)", "damped(qsgd(bits=2))"),
    ("cser(resets=rand-k(fraction=0.3,values=plain),interval=2)", "rand-k(fraction=0.2,values=plain)"),
    ("cser(ratio=4)", "fp32"),
    ("cser-pl(ratio=4)", "fp32"),
    ("cser-pl(resets=top-k(fraction=0.3),interval=5)", "fp32"),
    ("csea(ratio=3)", "fp32"),
    ("csea(resets=top-k(fraction=0.2))", "fp32"),
]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(("text", "compressor"), FAMILY)
def test_models_less_errors_are_the_same_at_all_nodes(text, compressor, momentum):
    """x_i - e_i is one vector, whatever the compressors, with momentum too."""
    made = run(text, compressor, momentum=momentum)
    apart = made.parameters - made.algorithm.errors

    assert (apart - apart[0]).abs().max() < 2e-6
    assert made.algorithm.errors.abs().max() > 1e-3
    assert (made.parameters - made.parameters[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("text", "compressor"), [*FAMILY, ("cser-blocks(ratio=4)", "fp32"), ("cser-blocks(ratio=8)", "fp32")]
)
def test_the_mean_model_follows_the_mean_of_the_updates(text, compressor):
    """PSync preserves the mean: the mean model moves by the mean of the nodes' own updates, every step."""
    made = Run(text, START, unlike, 4, len(RATES), compressor)
    for step, rate in enumerate(RATES):
        gradients = [unlike(node, step, model) for node, model in enumerate(made.models())]
        expected = made.consensus() - rate * np.mean(gradients, axis=0)
        made.step(step, rate)
        assert made.consensus() == pytest.approx(expected, abs=1e-6)


def test_sending_all_updates_is_synchronous_sgd():
    """C2 = identity: no errors, and the bits of synchronous SGD where no sum is rounded."""
    rates = [0.5, 0.25, 0.5, 0.25]
    made = run("cser(resets=top-k(fraction=0.2),interval=2)", gradient=dyadic, rates=rates)

    assert (
        made.consensus().tobytes() == run("synchronous", gradient=dyadic, rates=rates).consensus().tobytes()
    )
    assert not made.algorithm.errors.any()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_partial_local_sgd_with_whole_resets_is_local_sgd(momentum):
    """C1 = identity, C2 = 0: local SGD with H steps a round, momentum kept, to 2e-15."""
    one = run("cser-pl(interval=4)", momentum=momentum, double=True)
    two = run("local-sgd(interval=4)", momentum=momentum, double=True)

    assert one.models() == pytest.approx(two.models(), abs=2e-15)
    assert one.sent_bits == two.sent_bits


@pytest.mark.parametrize(
    ("text", "compressor"),
    [
        ("cser(resets=grbs(ratio=2),interval=2)", "grbs(ratio=4)"),
        ("cser(ratio=1)", "fp32"),
        ("cser-blocks(ratio=4)", "fp32"),
        ("csea(ratio=4)", "fp32"),
        ("cser-pl(ratio=4)", "fp32"),
    ],
)
def test_one_node_is_sgd(text, compressor):
    """N = 1: nothing to agree on; the bits of plain SGD where no sum is rounded."""
    rates = [0.5, 0.25, 0.5, 0.25]
    found = run(text, compressor, nodes=1, gradient=dyadic, rates=rates).consensus()
    expected = run("synchronous", nodes=1, gradient=dyadic, rates=rates).consensus()
    assert found.tobytes() == expected.tobytes()


def test_a_ratio_of_one_is_synchronous_sgd():
    """R2 = 1: every update is sent whole; the bits of synchronous SGD where no sum is rounded."""
    rates = [0.5, 0.25, 0.5, 0.25]
    made = run(
        "cser(resets=grbs(ratio=4),interval=2)", "grbs(ratio=1)", gradient=dyadic, rates=rates
    ).consensus()
    expected = run("synchronous", gradient=dyadic, rates=rates).consensus()
    assert made.tobytes() == expected.tobytes()


def test_the_authors_configurations():
    """(R2, R1, H) for 32x, 256x, 1024x, and those of CSER-PL."""
    plans = {
        text: ALGORITHMS.parse(text).make().plan
        for text in ("cser(ratio=32)", "cser(ratio=256)", "cser(ratio=1024)", "cser-pl(ratio=32)")
    }
    assert [tuple(plan) for plan in plans.values()] == [
        ("grbs(ratio=64)", "grbs(ratio=4)", 16),
        ("grbs(ratio=512)", "grbs(ratio=16)", 32),
        ("grbs(ratio=2048)", "grbs(ratio=8)", 256),
        (None, "grbs(ratio=8)", 4),
    ]
    assert [tuple(ALGORITHMS.parse(f"cser-pl(ratio={ratio})").make().plan)[1:] for ratio in (256, 1024)] == [
        ("grbs(ratio=16)", 16),
        ("grbs(ratio=32)", 32),
    ]


@pytest.mark.parametrize(
    ("text", "gradient_ratio", "reset_ratio", "interval"),
    [
        ("cser(ratio=32)", 64, 4, 16),
        ("cser-pl(ratio=32)", np.inf, 8, 4),
        ("csea(ratio=32)", np.inf, 32, 1),
    ],
)
def test_a_ratio_is_what_is_sent(text, gradient_ratio, reset_ratio, interval):
    """Values alone, blocks of 2^14 coordinates: the formula's bits, a ratio of 32, exactly."""
    n, steps = 2**14, 2 * interval
    made = Run(text, np.zeros(n), lambda *_: np.ones(n), 2, steps)
    made.go([0.1] * steps)
    values = made.exchange.ledger.bits["fixed"] / (2 * steps)
    bits = block_sparsifier_bits(n, gradient_ratio, reset_ratio, interval)

    assert values == bits
    assert 32 * n / bits == 32


def test_qsparse_is_local_sgd_with_feedback_on_the_differences():
    """The memory is the residual of ef(...) around the same compressor: the same bits."""
    one = run("qsparse-local-sgd(interval=3)", "top-k(fraction=0.2)", momentum=0.5)
    two = run("local-sgd(interval=3)", "ef(top-k(fraction=0.2))", momentum=0.5)

    assert one.models().tobytes() == two.models().tobytes()
    assert one.algorithm.memory.numpy().tobytes() == two.exchange.buffer.tobytes()
    assert one.sent_bits == two.sent_bits


def test_qsparse_of_everything_is_local_sgd_and_of_every_step_is_ef_sgd():
    """C = identity: local SGD. H = 1: EF-SGD. The same bits."""
    whole, plain = (
        run(f"{name}(interval=3)", momentum=0.5, double=True) for name in ("qsparse-local-sgd", "local-sgd")
    )
    assert whole.models().tobytes() == plain.models().tobytes()
    one = run("qsparse-local-sgd(interval=1)", "top-k(fraction=0.2)")
    two = run("ef-sgd", "top-k(fraction=0.2)")
    assert one.models().tobytes() == two.models().tobytes()


def test_the_memory_is_what_is_still_to_be_subtracted():
    """The model less the mean memory is x_0 less the rates times the mean gradients, to 1e-14."""
    made = Run("ef-sgd", START, unlike, 4, len(RATES), double_compressors.top_k(2), double=True)
    expected = START.copy()
    for step, rate in enumerate(RATES):
        expected -= rate * np.mean([unlike(node, step, x) for node, x in enumerate(made.models())], axis=0)
        made.step(step, rate)
        still = made.consensus() - made.algorithm.memory.numpy().mean(axis=0)
        assert still == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cser(ratio=32,resets=top-k)", "leave out resets and interval, or ratio"),
        ("cser(reset_ratio=4)", "reset_ratio goes with ratio"),
        ("cser(ratio=32,reset_ratio=5)", "must divide 2 ratio = 64"),
        ("cser(ratio=-1)", "at least 1"),
        ("cser(interval=-1)", "at least 1"),
        ("cser(resets=ef(top-k))", "leave out ef"),
        ("cser(resets=qsgd(bits=1))", "damp it"),
        ("cser(resets=no-such)", "unknown compressor"),
        ("cser-pl(ratio=32,reset_ratio=5)", "must divide ratio = 32"),
        ("csea(ratio=3,resets=top-k)", "leave out one"),
        ("cser-blocks(ratio=0)", "at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(text, message):
    """One line that says what would be right."""
    with pytest.raises(ValueError, match=message):
        ALGORITHMS.parse(text).make()


@pytest.mark.parametrize(
    ("text", "compressor", "message"),
    [
        ("cser(ratio=32)", "top-k", "leave out the compressor"),
        ("cser", "ef(top-k)", "leave out ef"),
        ("cser", "qsgd(bits=1)", "damp it"),
        ("cser", "hsq", "damp it"),
        ("ef-sgd", "terngrad", "a factor below 1"),
        ("ef-sgd", "ef(top-k)", "leave out ef"),
        ("diloco(feedback=0.9)", "rand-k", "damp it"),
    ],
)
def test_compressors_that_do_not_fit_are_refused(text, compressor, message):
    """Before any run: stacking that makes residuals of residuals, or lets what is not sent grow."""
    from qsgd_lab.compressors import COMPRESSORS

    with pytest.raises(ValueError, match=message):
        ALGORITHMS.parse(text).make().check_compressor(COMPRESSORS.parse(compressor).make())


def test_resets_and_what_a_server_sends_must_not_grow_either():
    """A biased compressor of factor 1.78 is refused in both places, as beside the algorithm."""
    for text in ("cser(resets=terngrad,interval=4)", "parameter-server(down=terngrad)"):
        with pytest.raises(ValueError, match=r"the variance factor is 1\.78; take a compressor"):
            ALGORITHMS.parse(text).make()


def test_a_named_compressor_brings_its_origin():
    """What an option names is part of the key: its canonical text, and where it comes from."""
    spec = ALGORITHMS.parse("cser( resets=top-k( fraction = 0.010 ), interval=4)")
    assert str(spec) == "cser(resets=top-k,interval=4)"
    assert spec.origins == ()
