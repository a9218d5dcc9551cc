"""Tab completion: an option whose values are known offers them, and only these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from fake_runs import demo_records

from qsgd_lab.cli.main import COMMANDS, cli
from qsgd_lab.runs.store import RunStore

#: Numbers, lists of numbers, lengths of time, files and modules: nothing can be offered.
OPEN = {
    *("--nodes", "--bits", "--seeds", "--levels", "--dim", "--workers", "--steps", "--import"),
    *("--title", "--max-time", "--link", "--latency", "--compute", "--quantize", "--budget", "--rate-scale"),
    *("--parameters", "--bandwidth", "--inner-bandwidth", "--inner-latency", "--share", "--slurm-partition"),
    "--shape",
}
#: What the folder of the runs has, if it is there.
OF_STORED_RUNS = {
    (name, f"--{field}")
    for name in ("table", "plot", "report", "runs list", "runs export")
    for field in ("preset", "dataset", "model")
}
OF_STORED_RUNS |= {("plot", "--method")}


def complete(*typed: str) -> list[str]:
    """Return what the shell offers after these words, of which the last is incomplete."""
    *args, incomplete = typed
    shell = ShellComplete(cli, {}, "qsgd-lab", "_QSGD_LAB_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


def options() -> Iterator[tuple[str, str]]:
    """Yield (command, option) for every option that takes a value other than a number or a path.

    A command of a group is two words, such as ``runs export``.
    """
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = command.list_commands(context) if isinstance(command, click.Group) else []
        found = {f"{name} {each}": command.get_command(context, each) for each in inner}  # type: ignore[attr-defined]
        for words, each in {name: command, **found}.items():
            for parameter in each.params if each is not None else ():
                is_plain = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
                is_flag = isinstance(parameter, click.Option) and parameter.is_flag
                if isinstance(parameter, click.Option) and not (
                    is_flag or is_plain or isinstance(parameter.type, click.Path)
                ):
                    yield words, parameter.opts[0]


@pytest.mark.parametrize(("command", "option"), sorted({*options()} - OF_STORED_RUNS))
def test_known_values_are_offered(command: str, option: str) -> None:
    """Whatever has a known set of values offers those that begin as what was typed, and nothing else does."""
    offered = complete(*command.split(), option, "")
    assert bool(offered) == (option not in OPEN)
    assert complete(*command.split(), option, "#") == []
    if offered:
        assert offered[0] in complete(*command.split(), option, offered[0][:1])


def test_models_are_those_of_the_preset() -> None:
    """--model offers the preset's networks where it was named before, else all."""
    assert complete("reproduce", "--preset", "demo", "--model", "") == ["alexnet"]
    assert "resnet110" in complete("reproduce", "--model", "res")


def test_lists_go_on_after_a_comma() -> None:
    """In a list the next word is offered behind those that are there, and none twice."""
    assert complete("table", "--show", "accuracy,b") == ["accuracy,bits"]
    assert complete("bench", "--against", "torch,bit") == ["torch,bitarray"]
    assert "torch,torch" not in complete("bench", "--against", "torch,")


def test_what_the_runs_have_is_offered(tmp_path: Path) -> None:
    """Filters offer the values that occur in the folder of the runs; without the folder, none."""
    store = RunStore(tmp_path / "runs")
    for record in demo_records():
        path = store.record_path(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.to_json())
    runs = ["--runs", str(store.path)]
    assert complete("table", *runs, "--preset", "") == ["demo"]
    assert complete("runs", "export", str(store.path), "--preset", "") == ["demo"]
    assert complete("plot", *runs, "--method", "2 bit, nearest") == ["2 bit, nearest", "2 bit, nearest + EF"]
    assert complete("table", "--runs", str(tmp_path / "none"), "--preset", "") == []
