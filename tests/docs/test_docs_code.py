"""Commands and code on the pages: each command parses, each import resolves, what can run runs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import checkout
import click
import pytest

from qsgd_lab.cli.main import cli

PAGES = [
    *(checkout.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((checkout.ROOT / "docs").glob("*.md")),
    *sorted((checkout.ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`((?:qsgd-lab|make) [^`]+)`")
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (checkout.ROOT / "Makefile").read_text(), re.MULTILINE))


def shown_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of the lab, and of make, that a page shows."""
    blocks = [code for language, code in FENCE.findall(text) if language in {"", "sh", "text"}]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text))]
    for line in lines:
        command = re.sub(r"^torchrun .* -m qsgd_lab ", "qsgd-lab ", line.strip())
        if not command.startswith(("qsgd-lab ", "make ")):
            continue
        words: list[str] = []
        for word in [*shlex.split(command, comments=True), "&&"]:
            if word in {"&&", "|", ">"}:
                if words and words[0] in {"qsgd-lab", "make"}:
                    yield words
                words = []
            else:
                words.append(word)


def check(command: click.Command, words: list[str]) -> None:
    """Parse words as the command does, files and plug-ins aside; raise a UsageError if it would."""
    context = click.Context(command)
    given, rest, _ = command.make_parser(context).parse_args(list(words))
    if isinstance(command, click.Group):
        if rest:
            inner = command.get_command(context, rest[0])
            if inner is None:
                raise click.UsageError(f"no command {rest[0]}")
            check(inner, rest[1:])
        return
    if rest:
        raise click.UsageError(f"extra words {rest}")
    for parameter in command.params:
        value = given.get(parameter.name or "")
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        # words in capitals are for the reader to replace; a plug-in brings names of its own
        if isinstance(parameter.type, click.Path) or "--import" in words or any(v.isupper() for v in values):
            continue
        if values:
            parameter.type_cast_value(context, value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page: Path) -> None:
    """Each command has the options and takes the values that the page gives it; targets of make exist."""
    faults = []
    for words in shown_commands(page.read_text(encoding="utf-8")):
        if words[0] == "make":
            targets = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            faults += [f"no target {name}" for name in targets - TARGETS]
            continue
        try:
            check(cli, words[1:])
        except click.UsageError as error:
            faults.append(f"{shlex.join(words)}: {error.format_message()}")

    assert faults == []


def test_a_wrong_command_is_found() -> None:
    """The check above sees a wrong option, value, command and an extra word."""
    block = "qsgd-lab table --nope\nqsgd-lab table --format \\\n  x\nqsgd-lab runs nope\n"
    page = f"```sh\n{block}```\n`qsgd-lab table x`"
    commands = list(shown_commands(page))

    assert len(commands) == 4
    for words in commands:
        with pytest.raises(click.UsageError):
            check(cli, words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_compiles_and_its_imports_resolve(page: Path) -> None:
    """Each block of Python is valid, and what it imports of the lab is there."""
    for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language != "python" or code.startswith(">>>"):  # with prompts: run as doctests
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qsgd_lab"):
                module = import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_stored_runs_are_read_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/runs.md runs: columns of a row a run, and of a row an epoch."""
    monkeypatch.chdir(checkout.ROOT)
    page = (checkout.ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    (code,) = (code for language, code in FENCE.findall(page) if language == "python")
    scope: dict[str, dict[str, list[object]]] = {}
    exec(compile(code, "docs/runs.md", "exec"), scope)

    assert {len(values) for values in scope["columns"].values()} == {140}
    (num_epochs,) = {len(values) for values in scope["epochs"].values()}
    assert num_epochs > 140
