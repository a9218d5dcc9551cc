"""The plan of a sweep, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qsgd_lab.cli.options.quantities import format_duration

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.plan import Plan


def sentence(plan: Plan, jobs: int, eta_s: float | None) -> str:
    """Return the plan in one line."""
    states = [f"{plan.count(state)} {state}" for state in ("done", "running", "stale") if plan.count(state)]
    missing = plan.count("missing") + plan.count("stale")
    processes = "1 process" if jobs == 1 else f"{jobs} processes"
    eta = "" if eta_s is None or not missing else f", about {format_duration(eta_s)}"
    already = f" ({', '.join(states)})" if states else ""
    return f"Plan: {len(plan.cells)} runs{already}; {missing} to do in {processes}{eta}."


def grid(plan: Plan) -> str:
    """Return done/all by model, method and node count, as aligned text."""
    configs = plan.configs()
    done = {config.key for config in plan.configs("done")}
    nodes = sorted({config.nodes for config in configs})
    rows = list(dict.fromkeys((config.model, config.method) for config in configs))
    width = max(len(f"{model}, {method}") for model, method in rows)
    lines = [" " * width + "".join(f"{f'N={count}':>8}" for count in nodes)]
    for model, method in rows:
        cells = (
            _share([c for c in configs if (c.model, c.method, c.nodes) == (model, method, count)], done)
            for count in nodes
        )
        lines.append(f"{f'{model}, {method}':<{width}}" + "".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines)


def _share(configs: list[RunConfig], done: set[str]) -> str:
    return f"{sum(config.key in done for config in configs)}/{len(configs)}" if configs else "--"


def as_text(plan: Plan, jobs: int, eta_s: float | None) -> str:
    """Return the whole plan as text."""
    size = f"About {-(-plan.bytes_to_write // 1024)} KiB will be written."
    return f"Done of all seeds, by cell:\n{grid(plan)}\n{sentence(plan, jobs, eta_s)} {size}\n"


def as_json(plan: Plan, jobs: int, eta_s: float | None) -> str:
    """Return the whole plan as JSON."""
    document = {
        "jobs": jobs,
        "eta_s": eta_s,
        "bytes_to_write": plan.bytes_to_write,
        "cells": [
            {"key": cell.config.key, "state": cell.state, "config": cell.config.to_dict()}
            for cell in plan.cells
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def fill_in(plan: Plan, jobs: int, measure: Callable[[Sequence[RunConfig]], list[float]]) -> float:
    """Return the ETA; the runs that the store has no history of are measured, all together."""
    unknown = [cell.config for cell in plan.cells if cell.expected_s is None]
    measured = dict(zip(unknown, measure(unknown), strict=True)) if unknown else {}
    seconds = [measured[cell.config] if cell.expected_s is None else cell.expected_s for cell in plan.cells]
    return max([sum(seconds) / jobs, *seconds], default=0.0)
