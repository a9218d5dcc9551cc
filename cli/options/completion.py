"""Completions of options that are not plain choices: names, lists of names, values in the stored runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

#: Problems with a known optimum, written out so that the help imports nothing heavy.
PROBLEMS = [
    *("kinked", "smooth", "published-local-sgd", "unlike-curvatures"),
    *("least-squares", "ridge", "logistic"),
    *("curved", "many-kinks", "softmax"),
]

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def one_of(names: Callable[[click.Context], Iterable[str]]) -> Complete:
    """Return a completion that offers the names which begin as what was typed.

    Parameters
    ----------
    names : callable
        Called with the context, whose ``params`` are the options typed before.
    """

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names(ctx) if name.startswith(incomplete)]

    return complete


def next_of(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the items for a list separated by commas: each name that it does not have yet, at its end."""
    *typed, last = incomplete.split(",")
    begun = "".join(f"{name}," for name in typed)
    return [CompletionItem(begun + name) for name in names if name.startswith(last) and name not in typed]


def models(ctx: click.Context) -> list[str]:
    """Return the networks of the preset that was typed, or else of all presets."""
    from qsgd_lab.training.presets import PRESETS

    was_typed = ctx.get_parameter_source("preset") is ParameterSource.COMMANDLINE
    presets = [PRESETS[ctx.params["preset"]]] if was_typed else list(PRESETS.values())
    return list(dict.fromkeys(model for preset in presets for model in preset.models))


def datasets(_ctx: click.Context) -> list[str]:
    """Return the data sets that presets name."""
    from qsgd_lab.training.presets import PRESETS

    return list(dict.fromkeys(preset.dataset for preset in PRESETS.values()))


def compressors(_ctx: click.Context) -> list[str]:
    """Return the names of compressors and of wrappers."""
    from qsgd_lab.compressors.registry import COMPRESSORS

    return list(COMPRESSORS.methods())


def algorithms(_ctx: click.Context) -> list[str]:
    """Return the names of algorithms."""
    from qsgd_lab.algorithms.registry import ALGORITHMS

    return list(ALGORITHMS.methods())


def splits(_ctx: click.Context) -> list[str]:
    """Return how examples may be dealt to nodes, as far as it can be known."""
    return ["iid", "shards:", "dirichlet:"]


def problems(ctx: click.Context) -> list[str]:
    """Return the problems with a known optimum, and the data sets."""
    return [*PROBLEMS, *datasets(ctx)]


def devices(_ctx: click.Context) -> list[str]:
    """Return the names of kinds of devices."""
    return ["auto", "cpu", "cuda"]


def of_stored_runs(field: str) -> Complete:
    """Return a completion that offers the values of a configuration field in the folder of the runs."""

    def values(ctx: click.Context) -> list[str]:
        from qsgd_lab.errors import LabError
        from qsgd_lab.runs.store import RunStore

        # click leaves an argument aside where the option after it has no value yet
        given = (ctx.params.get("runs"), ctx.params.get("named"), *ctx.args)
        try:
            records = RunStore(Path(next(filter(None, given), "runs"))).read().records
        except (LabError, OSError):  # the command itself will say what is wrong
            return []
        found: dict[Any, None] = dict.fromkeys(getattr(record.config, field) for record in records)
        return sorted(map(str, found))

    return one_of(values)
