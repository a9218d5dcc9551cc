"""Does quantized SGD converge as the theorems say? Runs on problems with a known optimum, beside the bounds.

SGD and QSGD: projected mini-batch SGD on K workers, each sending the (quantized) gradient of one example a
step, in the ball about the start that reaches to the optimum; the mean iterate's gap against QSGD's
Theorems 2.1 and 3.4 with total variance sigma^2 + omega B. QSVRG: the gap after each epoch against rho^p,
and what a worker sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qsgd_lab.compressors import QSGD
from qsgd_lab.theory.arguments import optional_whole, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.problems import LinearModel
from qsgd_lab.theory.checks.sgd_runs import SGDRuns
from qsgd_lab.theory.checks.statistics import mean_interval
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.convergence import convex_gap, convex_step, printed_parallel_step, total_variance
from qsgd_lab.theory.dense_code_length import worst_case_dense_bits
from qsgd_lab.theory.qsvrg import qsvrg_bits_per_epoch, qsvrg_contraction, qsvrg_schedule
from qsgd_lab.theory.variance import variance_bound_l2

OK, EXCEEDS = "ok", "EXCEEDS BOUND"
#: The printed step may miss the bound, which is that of the corrected one: a finding, not a failure.
MISPRINT_EXCEEDS = "exceeds, as printed"
SGD, SGD_PRINTED, QSGD_METHOD, QSVRG = "SGD", "SGD, printed step", "QSGD", "QSVRG"
FLOAT_BITS = 32


@dataclass(frozen=True, kw_only=True)
class ConvergenceCheck:
    """One row: a method on a problem, after so many steps.

    Attributes
    ----------
    problem, method : str
    levels : int or None
        s; None for full precision.
    workers : int
        K.
    steps : int
        T; of QSVRG, the inner steps of an epoch.
    epoch : int or None
        Epochs of QSVRG so far.
    gap, ci_low, ci_high : float
        Mean of f(x) - f* over the trials, and its 95 % interval.
    bound : float
        On the expected gap.
    ratio : float
        gap / bound.
    bits_per_coordinate : float
        What a worker sends a coordinate of a quantized vector: dense omega, norms included; 32 for float32.
    bits : float
        What a worker sends in all steps, or in this epoch.
    bits_bound, bits_bound_paper : float or None
        Of QSVRG, an epoch's bits with 4 n + 32 a vector, and with the paper's 2.8 n + 32.
    verdict : str
        ``ok``, ``EXCEEDS BOUND``, or, of the printed step, ``exceeds, as printed``.
    """

    problem: str
    method: str
    levels: int | None
    workers: int
    steps: int
    epoch: int | None
    gap: float
    ci_low: float
    ci_high: float
    bound: float
    ratio: float
    bits_per_coordinate: float
    bits: float
    bits_bound: float | None = None
    bits_bound_paper: float | None = None
    verdict: str
    trials: int
    seed: int

    @property
    def passed(self) -> bool:
        """Whether no theorem was contradicted."""
        return self.verdict != EXCEEDS


def check_sgd(
    problem: LinearModel,
    *,
    levels: int | None,
    workers: int,
    steps: int,
    printed_step: bool = False,
    trials: int = 8,
    seed: int = 0,
    backend: str = "auto",
) -> ConvergenceCheck:
    """Run SGD or QSGD and hold the mean iterate's gap against its bound.

    Parameters
    ----------
    problem : LinearModel
    levels : int or None
        s, one bucket, l2 norm; None sends float32.
    workers, steps : int
        K and T.
    printed_step : bool
        Take the step as printed, 1 / (L + sqrt(K) / gamma); its bound is then the corrected step's.
    trials : int
        Independent runs, at least 2.
    seed : int
    backend : str
        Of the quantizer.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    levels, workers, steps = (
        optional_whole("levels", levels),
        whole("workers", workers),
        whole("steps", steps),
    )
    trials, seed = whole("trials", trials, least=2), whole("seed", seed, least=0)
    n, radius = problem.num_coordinates, float(np.linalg.norm(problem.optimum))
    omega = 0.0 if levels is None else float(variance_bound_l2(n, levels))
    variance = total_variance(problem.variance_in(radius), problem.second_moment_in(radius), omega)
    constants = (radius, problem.smoothness, variance, steps, workers)
    # Both steps share the bound, which is a theorem for the corrected one only.
    step = (printed_parallel_step if printed_step else convex_step)(*constants)
    runs = SGDRuns(problem, levels, workers, trials, seed, backend)
    # The theorem is about the mean of the iterates, not the last one.
    means = runs.mean_iterates(step, radius, steps)
    gaps = np.array([problem.gap(point) for point in means])
    method = QSGD_METHOD if levels is not None else SGD_PRINTED if printed_step else SGD
    each = runs.bits_sent / (steps * workers * trials * n) if levels is not None else float(FLOAT_BITS)
    return _check(
        gaps,
        convex_gap(*constants),
        problem=problem.name,
        method=method,
        levels=levels,
        workers=workers,
        steps=steps,
        epoch=None,
        bits_per_coordinate=each,
        bits=each * n * steps,
        trials=trials,
        seed=seed,
    )


def _check(gaps: Floats, bound: float, **fields: object) -> ConvergenceCheck:
    low, high = mean_interval(gaps)
    gap = float(gaps.mean())
    return ConvergenceCheck(
        gap=gap,
        ci_low=low,
        ci_high=high,
        bound=bound,
        ratio=gap / bound,
        verdict=_verdict(low > bound, fields["method"]),
        **fields,  # type: ignore[arg-type]
    )


def _verdict(exceeds: bool, method: object) -> str:
    if not exceeds:
        return OK
    return MISPRINT_EXCEEDS if method == SGD_PRINTED else EXCEEDS


def check_qsvrg(
    problem: LinearModel,
    *,
    workers: int,
    epochs: int,
    levels: int | None = None,
    trials: int = 8,
    seed: int = 0,
    backend: str = "auto",
) -> list[ConvergenceCheck]:
    """Run QSVRG and hold the gap after each epoch against the rate, and its bits against the bound.

    Parameters
    ----------
    problem : LinearModel
        Strongly convex.
    workers, epochs, trials, seed, backend
        As in `check_sgd`.
    levels : int, optional
        s, by default the least integer that is at least sqrt(n), as in the paper.

    Raises
    ------
    ValueError
        If the problem is not strongly convex, or a number is out of its range.
    """
    if problem.strong_convexity <= 0:
        raise ValueError(f"{problem.name} is not strongly convex; QSVRG's rate needs a ridge")
    levels, workers, epochs = (
        optional_whole("levels", levels),
        whole("workers", workers),
        whole("epochs", epochs),
    )
    trials, seed = whole("trials", trials, least=2), whole("seed", seed, least=0)
    n = problem.num_coordinates
    s = levels or int(np.ceil(np.sqrt(n)))
    # The simple bound, which is the paper's 5/4 at s = sqrt(n), though the supremum may be a little below.
    growth = 1 + float(variance_bound_l2(n, s))
    smoothness, strong = problem.term_smoothness, problem.strong_convexity
    step, inner = qsvrg_schedule(smoothness, strong, growth=growth)
    # The rate of this step and number of inner steps, with the constants of this problem.
    rate = qsvrg_contraction(smoothness, strong, step, inner, growth=growth)
    quantizer = QSGD(levels=s, bucket_size="model", backend=backend)
    seeds = range(seed, seed + trials)
    gaps, bits = _qsvrg_runs(problem, quantizer, step, inner, workers, epochs, seeds)
    start = problem.gap(np.zeros(n))
    return [
        _check(
            gaps[:, epoch],
            rate ** (epoch + 1) * start,
            problem=problem.name,
            method=QSVRG,
            levels=s,
            workers=workers,
            steps=inner,
            epoch=epoch + 1,
            # The full gradient at the start of an epoch goes in float32 and is not part of the code's rate.
            bits_per_coordinate=float((bits[:, epoch].mean() - FLOAT_BITS * n) / (inner * n)),
            bits=float(bits[:, epoch].mean()),
            bits_bound=qsvrg_bits_per_epoch(n, inner, bits_per_coordinate=_dense_bound(n, s)),
            bits_bound_paper=qsvrg_bits_per_epoch(n, inner, bits_per_coordinate=2.8),
            trials=trials,
            seed=seed,
        )
        for epoch in range(epochs)
    ]


def _dense_bound(n: int, s: int) -> float:
    return (worst_case_dense_bits(n, s) - NORM_BITS) / n


def _qsvrg_runs(
    problem: LinearModel,
    compressor: QSGD,
    step: float,
    inner: int,
    workers: int,
    epochs: int,
    seeds: Sequence[int],
) -> tuple[Floats, Floats]:
    """Return gaps and a worker's bits after each epoch, shapes (trials, epochs)."""
    from qsgd_lab.algorithms.qsvrg import qsvrg

    gaps, bits = np.empty((len(seeds), epochs)), np.empty((len(seeds), epochs))
    for trial, seed in enumerate(seeds):
        ends = qsvrg(
            problem,
            np.zeros(problem.num_coordinates),
            compressor,
            step=step,
            num_inner_steps=inner,
            num_epochs=epochs,
            nodes=workers,
            seed=seed,
        )
        for epoch, end in enumerate(ends):
            gaps[trial, epoch] = problem.gap(end.point)
            bits[trial, epoch] = end.bits_per_node["omega"]
    return gaps, bits


def sweep_convergence(
    problem: LinearModel,
    *,
    levels: Sequence[int] = (1, 6),
    workers: Sequence[int] = (1, 4, 16),
    steps: Sequence[int] = (100, 1000),
    epochs: int = 6,
    trials: int = 8,
    seed: int = 0,
    backend: str = "auto",
) -> list[ConvergenceCheck]:
    """Return the rows of one problem: SGD and QSGD at every K and T, and QSVRG's epochs if it has a ridge.

    Parameters
    ----------
    problem : LinearModel
    levels : sequence of int
        s of QSGD.
    workers, steps : sequence of int
        K and T.
    epochs : int
        Of QSVRG; 0 leaves it out.
    trials, seed, backend
        As in `check_sgd`.
    """
    epochs = whole("epochs", epochs, least=0)
    methods: list[tuple[int | None, bool]] = [(None, False), (None, True), *((s, False) for s in levels)]
    rows = [
        check_sgd(
            problem,
            levels=s,
            workers=k,
            steps=t,
            printed_step=printed,
            trials=trials,
            seed=seed,
            backend=backend,
        )
        for s, printed in methods
        for k in workers
        for t in steps
        if not (printed and k == 1)  # then the steps agree
    ]
    # QSVRG's rate needs strong convexity; without a ridge there is none to show.
    if problem.strong_convexity > 0 and epochs > 0:
        for k in workers:
            rows += check_qsvrg(problem, workers=k, epochs=epochs, trials=trials, seed=seed, backend=backend)
    return rows
