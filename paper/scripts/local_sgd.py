"""Local SGD from every step to one-shot averaging: two figures and a table, and what they are made from.

python paper/scripts/local_sgd.py   measure again, and write paper/local-sgd.json (two minutes of one core)

`make_paper.py` draws and sets what that file has. The same numbers come from::

    qsgd-lab compare --problem published-local-sgd --nodes 20 --repeats 2000 --method synchronous ...
    qsgd-lab compare --problem kinked --nodes 4,16,64 --repeats 400 --method synchronous ...
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from paper_runs import PAPER, PaperRuns
from quantizer_table import significant
from verdict import Verdict, decide

from qsgd_lab.files import write_atomically
from qsgd_lab.report.figures.panels import key, make_panels, method_cycle
from qsgd_lab.report.figures.style import figure_bytes, style
from qsgd_lab.theory.local_sgd import constant_schedule, growing_schedule, local_sgd_error_bound

DATA = PAPER / "local-sgd.json"
PUBLISHED, KINKED = "published-local-sgd", "kinked"
REPEATS = {PUBLISHED: 2000, KINKED: 400}
PUBLISHED_NODES, KINKED_NODES = 20, (4, 16, 64)
#: T of the two problems.
STEPS = {PUBLISHED: 1000, KINKED: 2000}

EVERY, GROWING, FEW, CONSTANT, ONCE = (
    "every step",
    "growing, $R = N$",
    r"growing, $R = \sqrt{N}$",
    "constant, $R = N$",
    "one-shot",
)


def methods(nodes: int) -> dict[str, str]:
    """Return the text of each schedule at N."""
    return {
        EVERY: "synchronous",
        GROWING: f"local-sgd(schedule=growing,rounds={nodes})",
        FEW: f"local-sgd(schedule=growing,rounds={math.isqrt(nodes)})",
        CONSTANT: f"local-sgd(rounds={nodes})",
        ONCE: "local-sgd(schedule=one-shot)",
    }


def measure() -> dict[str, Any]:
    """Return the mean error, and its standard error, of each problem, N and schedule at each checkpoint."""
    from qsgd_lab.problems.comparison import ComparedMethod, Comparison, Settings
    from qsgd_lab.runs.problem_store import ProblemStore
    from qsgd_lab.runs.store import RunStore

    wanted = [(PUBLISHED, 1, {EVERY: "synchronous"}), (PUBLISHED, PUBLISHED_NODES, methods(PUBLISHED_NODES))]
    wanted += [(KINKED, nodes, methods(nodes)) for nodes in KINKED_NODES]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = ProblemStore(RunStore(Path(folder)))
        for problem, nodes, texts in wanted:
            comparison = Comparison(Settings(problem, STEPS[problem], REPEATS[problem]), store, print)
            for label, text in texts.items():
                _, blocks = comparison.blocks(ComparedMethod.parse(text), nodes)
                errors = np.concatenate([np.array(block.errors) for block in blocks], axis=1)
                spread = errors.std(axis=1, ddof=1) / math.sqrt(errors.shape[1])
                rows.append(
                    {
                        "problem": problem,
                        "nodes": nodes,
                        "schedule": label,
                        "method": text,
                        "steps": list(blocks[0].steps),
                        "mean": errors.mean(axis=1).tolist(),
                        "error": spread.tolist(),
                    }
                )
    return {"repeats": REPEATS, "rows": rows}


@cache
def measured() -> dict[tuple[str, int, str], dict[str, Any]]:
    """Return what is committed, by problem, N and schedule."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))["rows"]
    return {(row["problem"], row["nodes"], row["schedule"]): row for row in rows}


def speed_up(schedule: str) -> tuple[float, float]:
    """Return one node's error over that of N on the published problem, and its standard error."""
    single = measured()[PUBLISHED, 1, EVERY]
    row = measured()[PUBLISHED, PUBLISHED_NODES, schedule]
    ratio = single["mean"][-1] / row["mean"][-1]
    relative = math.hypot(*(each["error"][-1] / each["mean"][-1] for each in (single, row)))
    return ratio, ratio * relative


def scaled_error(nodes: int, schedule: str) -> tuple[float, float]:
    """Return N T E x^2 of the kinked problem, and its standard error."""
    row = measured()[KINKED, nodes, schedule]
    factor = nodes * STEPS[KINKED]
    return factor * row["mean"][-1], factor * row["error"][-1]


def scaled_bound(nodes: int, schedule: str) -> float:
    """Return N T times the computable bound on E x^2 of the kinked problem."""
    steps = STEPS[KINKED]
    times = {
        EVERY: lambda: list(range(1, steps + 1)),
        GROWING: lambda: growing_schedule(steps, nodes),
        FEW: lambda: growing_schedule(steps, math.isqrt(nodes)),
        CONSTANT: lambda: constant_schedule(steps, nodes),
        ONCE: lambda: [steps],
    }[schedule]()
    bound = local_sgd_error_bound(
        times,
        num_steps=steps,
        num_workers=nodes,
        strong_convexity=1,
        smoothness=4,
        noise_variance=1,
        beta=32,
        initial_distance_squared=1,
    )
    return nodes * steps * bound


def rounds_as_nodes(_: PaperRuns) -> Verdict:
    """Require that N growing rounds lose less than a factor of 3 at every N, fewer and one ever more."""
    many, few, once = ([_loss(nodes, label) for nodes in KINKED_NODES] for label in (GROWING, FEW, ONCE))
    return decide(
        [
            (max(many) < 3, f"with N rounds the factor reaches {max(many):.1f}"),
            (few == sorted(few) and few[-1] > 3 * few[0], "with fewer it does not grow"),
            (once == sorted(once) and once[-1] > 3 * once[0], "of one-shot averaging it does not grow"),
        ]
    )


def constant_is_as_good(_: PaperRuns) -> Verdict:
    """Require that constant intervals are not worse than growing ones by two standard errors anywhere."""
    pairs = [(scaled_error(nodes, CONSTANT), scaled_error(nodes, GROWING)) for nodes in KINKED_NODES]
    return decide(
        [
            (one[0] - other[0] < 2 * math.hypot(one[1], other[1]), f"{one[0]:.2f} against {other[0]:.2f}")
            for one, other in pairs
        ]
    )


def below_the_bound(_: PaperRuns) -> Verdict:
    """Require that every measured error is below the computable bound."""
    return decide(
        [
            (scaled_error(nodes, label)[0] < scaled_bound(nodes, label), f"not at N = {nodes}, {label}")
            for nodes in KINKED_NODES
            for label in methods(nodes)
        ]
    )


LOCAL_SGD_CLAIMS: dict[str, Callable[[PaperRuns], Verdict]] = {
    "rounds as nodes": rounds_as_nodes,
    "constant intervals": constant_is_as_good,
    "below the bound": below_the_bound,
}


def _loss(nodes: int, schedule: str) -> float:
    """Return a schedule's error over that of an exchange every step."""
    return scaled_error(nodes, schedule)[0] / scaled_error(nodes, EVERY)[0]


def local_sgd_figures() -> dict[str, bytes | None]:
    """Return file name -> PDF."""
    with style():
        return {
            "local-sgd.pdf": figure_bytes(_by_step(), ".pdf"),
            "kinked.pdf": figure_bytes(_by_nodes(), ".pdf"),
        }


def _by_step() -> Figure:
    """Draw the error of the published problem by step."""
    shown = [(1, EVERY, "one node"), *((PUBLISHED_NODES, label, label) for label in methods(PUBLISHED_NODES))]
    looks = method_cycle(len(shown))
    panels = make_panels(1, "step")
    (axes,) = panels.axes
    for (nodes, schedule, _), look in zip(shown, looks, strict=True):
        row = measured()[PUBLISHED, nodes, schedule]
        mean, error = np.array(row["mean"]), np.array(row["error"])
        axes.plot(row["steps"], mean, markersize=2, linewidth=0.9, **look.style)
        band = mean - error, mean + error
        axes.fill_between(row["steps"], *band, color=look.colour, alpha=0.15, linewidth=0)
    axes.set_yscale("log")
    keys = [key(look, words) for (_, _, words), look in zip(shown, looks, strict=True)]
    return panels.finish("", r"$f(\bar x) - f^*$", keys)


def _by_nodes() -> Figure:
    """Draw N T E x^2 of the kinked problem against N."""
    labels = list(methods(4))
    looks = method_cycle(len(labels))
    panels = make_panels(1, "nodes $N$")
    (axes,) = panels.axes
    for label, look in zip(labels, looks, strict=True):
        values, errors = zip(*(scaled_error(nodes, label) for nodes in KINKED_NODES), strict=True)
        axes.errorbar(KINKED_NODES, values, yerr=errors, linewidth=0.9, capsize=1.5, **look.style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(KINKED_NODES, [str(nodes) for nodes in KINKED_NODES])
    axes.minorticks_off()
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    keys = [key(look, label) for label, look in zip(labels, looks, strict=True)]
    return panels.finish("", r"$N T\, \mathrm{E}\, \bar x^2$", keys)


def local_sgd_floats() -> str:
    """Return both figures and the table of the kinked problem as LaTeX floats."""
    ups = ", ".join(rf"{_pm(*speed_up(label))} ({label})" for label in methods(PUBLISHED_NODES))
    nodes = " & ".join(f"$N = {count}$" for count in KINKED_NODES)
    lines = [
        " & ".join(
            [label]
            + [_pm(*scaled_error(count, label)) for count in KINKED_NODES]
            + [significant(scaled_bound(count, label)) for count in KINKED_NODES]
        )
        + r" \\"
        for label in methods(4)
    ]
    return "\n".join(
        [
            _figure(
                "local-sgd",
                rf"Local SGD on the problem of its paper~\cite{{spiridonoff2021}}, $N = {PUBLISHED_NODES}$, "
                rf"{REPEATS[PUBLISHED]} repetitions: error of the mean model by step. "
                rf"Speed-up over one node at the last step: {ups}.",
                "fig:localsgd",
            ),
            _figure(
                "kinked",
                rf"$f' = x$ below and $4x$ above 0, unit noise, $T = {STEPS[KINKED]}$, {REPEATS[KINKED]} "
                r"repetitions: $N T\,\mathrm{E}\,\bar x^2$ against the number of nodes. A flat line is a "
                "linear speed-up; bars are standard errors.",
                "fig:kinked",
            ),
            r"\begin{table*}[tbp]",
            r"\centering",
            r"\caption{The values of Fig.~\ref{fig:kinked}, with standard errors, and the bound that holds "
            r"for any schedule, computed step by step, times $N T$.}",
            r"\label{tab:kinked}",
            r"\footnotesize",
            r"\begin{tabular*}{\textwidth}{@{\extracolsep{\fill}}l rrr rrr@{}}",
            r"\toprule",
            r"& \multicolumn{3}{c}{Measured} & \multicolumn{3}{c}{Bound} \\",
            r"\cmidrule(lr){2-4} \cmidrule(l){5-7}",
            rf"Exchange & {nodes} & {nodes} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table*}",
            "",
        ]
    )


def _figure(name: str, caption: str, label: str) -> str:
    return "\n".join(
        [
            r"\begin{figure}[tbp]",
            r"\centering",
            rf"\generatedfigure{{{name}}}",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            r"\end{figure}",
        ]
    )


def _pm(value: float, error: float) -> str:
    """Return a value to two digits of its error."""
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return rf"${value:.{decimals}f} \pm {error:.{decimals}f}$"


if __name__ == "__main__":
    write_atomically(DATA, json.dumps(measure(), indent=1) + "\n")
