"""``qsgd-lab suite list``: what the benchmark is made of; runs nothing."""

from __future__ import annotations

import click

from qsgd_lab.cli.measure.rows_output import Table, as_json, as_text

FORMATS = ("text", "json")


@click.command()
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
def list_suite(format_name: str) -> None:
    """List the tasks, rungs and stored entries of the benchmark, with its digest.

    \b
    Example:
      qsgd-lab suite list
    """
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.result_file import stored_entries
    from qsgd_lab.suite.submission import baselines

    suite = load_suite()
    stored = {entry.name: entry for entry in stored_entries(suite)}
    tasks = [
        {
            "task": task.key,
            "source": task.source,
            "split": task.split,
            "coordinates": task.dimension,
            "steps": task.steps,
            "seeds": task.tests,
            "tuning": f"{task.tuning}, to {suite.search(task).stages[-1]:.3g}",
            **{rung: f"{suite.ratio(task, rung)}x" for rung in suite.rungs},
            "scored": "yes" if task.scored else "no",
        }
        for task in suite.tasks
    ]
    entries = [
        {
            "entry": name,
            "title": submission.title,
            **{rung: " | ".join(submission.specs.get(rung, ["--"])) for rung in suite.rungs},
            "cells": len(stored[name].cells) if name in stored else 0,
            "cpu_s": round(stored[name].cpu, 1) if name in stored else 0.0,
        }
        for name, submission in baselines(suite).items()
    ]
    head = {"suite": suite.name, "digest": suite.digest}
    if format_name == "json":
        rows: list[dict[str, object]] = [{**head, **row} for row in tasks]
        click.echo(as_json([*rows, *({**head, **row} for row in entries)]), nl=False)
        return
    first = Table(list(tasks[0]), [[str(v) for v in task.values()] for task in tasks], "Tasks", (0, 1, 2), 1)
    short = [[str(row[key]) for key in ("entry", "title", "cells", "cpu_s")] for row in entries]
    second = Table(["entry", "method", "stored cells", "CPU s"], short, "Baselines", (0, 1), 1)
    title = f"{suite.name}, {suite.nodes} nodes, {suite.digest}\n"
    click.echo(as_text([title, first, second]), nl=False)
