"""Every timed bar of real nodes on this machine: what was measured, the bar, the verdict.

python benchmarks/link_bars.py                        Linux, root, nothing beside it: under 20 minutes
python benchmarks/link_bars.py --steps 3 --seeds 1    tries it, in two minutes

Processes exchange the gradients of AlexNet over links that are shaped in network namespaces, methods in
turns, and train the digits to 95 % over 50 Mbit/s. Nothing is judged where others used the machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from qsgd_lab.link_lab.load import LoadMeter
from qsgd_lab.link_lab.measurement import Asked, Measured, Outcome, run, run_ranks
from qsgd_lab.link_lab.namespaces import shaped
from qsgd_lab.report.tables.units import format_bandwidth
from qsgd_lab.runs.environment import installed_version, processor

M = 1e6 / 8
FP32, TWO_BIT, TWO_PHASE = "fp32", "2:all-gather", "2:two-phase"
SHORT, SHORT_TWO_PHASE = f"{TWO_BIT}:ranged", f"{TWO_PHASE}:ranged"
METHODS = (FP32, "fp16", "powersgd", TWO_BIT, TWO_PHASE)
#: At 50 Mbit/s the fewest bytes win.
SLOW = (*METHODS, SHORT, SHORT_TWO_PHASE)
DIGITS = (FP32, TWO_BIT)


class Setting(NamedTuple):
    """A measurement, and its bars: the least speed-up of a method, and how far the model may be off."""

    nodes: int
    bandwidth: float | None
    method: str
    speed_up: float
    model_error: float | None

    def __str__(self) -> str:
        rate = "loopback" if self.bandwidth is None else format_bandwidth(self.bandwidth)
        return f"{rate}, W = {self.nodes}"


SETTINGS = (
    Setting(2, 50 * M, TWO_BIT, 8.0, 0.15),
    Setting(4, 50 * M, SHORT_TWO_PHASE, 9.0, None),
    Setting(2, 200 * M, TWO_BIT, 3.5, 0.15),
    Setting(2, 1000 * M, TWO_BIT, 1.5, 0.30),
    Setting(2, None, TWO_BIT, 0.9, None),
)


class Bar(NamedTuple):
    """One bar: what it is about, what was asked, what was measured, and whether that is enough."""

    what: str
    asked: str
    found: str
    holds: bool


def bars_of(setting: Setting, outcome: Outcome) -> Iterator[Bar]:
    """Yield the bars of one measurement."""
    rows = {row.method: row for row in outcome.rows}
    base, row = rows[FP32], rows[setting.method]
    ratio = base.median_s / row.median_s
    yield Bar(
        f"{setting}: {setting.method} against fp32",
        f">= {setting.speed_up:g}",
        f"{ratio:.2f} ({1e3 * base.median_s:.0f} and {1e3 * row.median_s:.0f} ms)",
        ratio >= setting.speed_up,
    )
    if setting.bandwidth is None:
        assert base.modelled_s is not None and row.modelled_s is not None
        announced = base.modelled_s / row.modelled_s
        text = f"announced {announced:.2f}, measured {ratio:.2f}"
        yield Bar(
            f"{setting}: the calculator announces loss or gain",
            "the same side of 1",
            text,
            (announced > 1) == (ratio > 1),
        )
        return
    if setting.bandwidth == 50 * M and setting.nodes == 2:
        share = (row.sent_bytes / setting.bandwidth + row.processor_s) / row.median_s
        yield Bar(f"{setting}: {setting.method}, wire + CPU", ">= 85 %", f"{share:.0%}", share >= 0.85)
    if setting.model_error is not None:
        for name in (FP32, TWO_BIT):
            modelled = rows[name].modelled_s
            assert modelled is not None
            error = modelled / rows[name].median_s - 1
            yield Bar(
                f"{setting}: model of {name}",
                f"within {setting.model_error:.0%}",
                f"{error:+.0%}",
                abs(error) <= setting.model_error,
            )
    if setting.bandwidth == 200 * M:
        yield from _bytes(setting, rows)


def _bytes(setting: Setting, rows: dict[str, Measured]) -> Iterator[Bar]:
    """Yield the counter of the interface against what was counted."""
    for name in (FP32, TWO_BIT, TWO_PHASE):
        counted = rows[name].counted_bytes or rows[name].modelled_bytes
        assert counted is not None
        more = rows[name].sent_bytes / counted - 1
        figures = f"{more:+.2%} ({counted:.0f} counted, {rows[name].sent_bytes:.0f} left)"
        yield Bar(f"{setting}: bytes of {name}", "within 1 %", figures, abs(more) <= 0.01)


def processor_bar(outcomes: dict[Setting, Outcome]) -> Bar:
    """Return the bar of the processor's time that the hook adds, over the settings of two ranks."""
    more = []
    for setting, outcome in outcomes.items():
        if setting.nodes == 2:
            rows = {row.method: row for row in outcome.rows}
            more.append(1e3 * (rows[TWO_BIT].processor_s - rows[FP32].processor_s))
    found = f"{statistics.median(more):.1f} ms (by setting: {', '.join(f'{ms:.1f}' for ms in more)})"
    return Bar("extra CPU of the hook, 2 bit, W = 2, AlexNet", "<= 8 ms", found, statistics.median(more) <= 8)


def digits_bar(seeds: int) -> tuple[Bar, float, list[dict[str, Any]]]:
    """Train the digits to 95 % over 50 Mbit/s; return the bar, what others used of the machine, and runs."""
    meter = LoadMeter()
    with tempfile.TemporaryDirectory() as folder, shaped(2, 50 * M) as places:
        program = [sys.executable, str(Path(__file__).with_name("digits_over_link.py"))]
        settings = {"nodes": 2, "seeds": seeds, "methods": list(DIGITS), "timeout_s": 120.0}
        runs: list[dict[str, Any]] = run_ranks(program, settings, Path(folder), places)[0]["runs"]
    return digits_verdict(runs), meter.others(), runs


def digits_verdict(runs: list[dict[str, Any]]) -> Bar:
    """Return the bar of training: float32 that was stopped before it arrived took at least that long."""
    of = {name: [run for run in runs if run["method"] == name] for name in DIGITS}

    def words(name: str) -> str:
        seconds, epochs = ([run[key] for run in of[name]] for key in ("seconds", "epochs"))
        spread = statistics.stdev(epochs) / len(epochs) ** 0.5 if len(epochs) > 1 else 0.0
        late = sum(not run["reached"] for run in of[name])
        stopped = f", {late} of {len(epochs)} stopped before" if late else ""
        mean = f"{statistics.mean(epochs):.1f} ± {spread:.1f} epochs"
        return f"{name} {statistics.mean(seconds):.1f} s, {mean}{stopped}"

    slow, fast = (statistics.mean(run["seconds"] for run in of[name]) for name in DIGITS)
    reached = all(run["reached"] for run in of[TWO_BIT])
    found = f"{slow / fast:.1f} ({'; '.join(map(words, DIGITS))})"
    what = f"{format_bandwidth(50 * M)}, W = 2: time to 95 % on digits, n = {len(of[TWO_BIT])}"
    return Bar(what, ">= 8", found, slow / fast >= 8 and reached)


def show(bar: Bar, others: float, nodes: int, cores: int) -> None:
    """Print a bar with its verdict."""
    verdict = "HOLDS" if bar.holds else "MISSED"
    if others + min(nodes, cores) > cores + 0.5:
        verdict = f"not judged ({verdict}): others used {others:.1f} of {cores} cores"
    click.echo(f"{bar.what:55s}  {bar.asked:20s}  {bar.found}  -> {verdict}")


@click.command()
@click.option("--steps", type=click.IntRange(min=2), default=20, show_default=True, help="Of each method.")
@click.option("--seeds", type=click.IntRange(min=0), default=20, show_default=True, help="Of the digits.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Where to write all figures.")
def main(steps: int, seeds: int, out: Path | None) -> None:
    """Measure, and print every bar."""
    from qsgd_lab.cli.link.measure_output import render

    begin, outcomes, bars = time.monotonic(), {}, []
    for setting in SETTINGS:
        methods = SLOW if setting.bandwidth == 50 * M else METHODS if setting.bandwidth else METHODS[:4]
        outcome = run(Asked(setting.nodes, "alexnet", "digits", 16, steps, methods, setting.bandwidth))
        outcomes[setting] = outcome
        click.echo(render(outcome, "text"))
        bars += [(bar, outcome.load, setting.nodes) for bar in bars_of(setting, outcome)]
    calm = max(outcome.load for setting, outcome in outcomes.items() if setting.nodes == 2)
    bars.append((processor_bar(outcomes), calm, 2))
    runs: list[dict[str, Any]] = []
    if seeds:
        bar, others, runs = digits_bar(seeds)
        bars.append((bar, others, 2))
    cores = next(iter(outcomes.values())).cores
    for bar, others, nodes in bars:
        show(bar, others, nodes, cores)
    click.echo(f"{time.monotonic() - begin:.0f} s in all.")
    if out is not None:
        rows = {str(setting): json.loads(render(outcome, "json")) for setting, outcome in outcomes.items()}
        conditions = {
            "processor": processor(),
            "cores": cores,
            "others_used": round(max(others for _, others, _ in bars), 2),
            "date": time.strftime("%Y-%m-%d"),
            "packages": {name: installed_version(name) for name in ("qsgd-lab", "torch", "numpy", "numba")},
        }
        records = {
            "conditions": conditions,
            "bars": [bar._asdict() for bar, _, _ in bars],
            "links": rows,
            "digits": runs,
        }
        out.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
