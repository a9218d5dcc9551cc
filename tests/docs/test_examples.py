"""The notebook of examples/ runs; its tutorials run when `make site` builds the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import checkout
import pytest

EXAMPLES = checkout.ROOT / "examples"


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The code cells run one after the other, print what the README says, and are stored without output."""
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    scope: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "first_steps.ipynb", "exec"), scope)

    assert len(cells) >= 4
    assert "1.572 bits a coordinate" in capsys.readouterr().out
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("[0-9]_*.py")), ids=lambda path: path.stem)
def test_a_tutorial_reads_as_a_page(path: Path) -> None:
    """A tutorial begins with a title and a sentence, and links and commands in it exist."""
    from qsgd_lab.cli.main import COMMANDS

    text = path.read_text(encoding="utf-8")
    title, line, sentence = re.match(r'"""\n(.+)\n(=+)\n\n(.+\.)\n', text).groups()  # type: ignore[union-attr]

    assert len(line) == len(title)
    assert len(sentence) > 20
    assert set(re.findall(r"qsgd-lab ([a-z-]+)", text)) <= set(COMMANDS)
    for page in re.findall(r":doc:`/([a-z-]+)`", text):
        assert (checkout.ROOT / "docs" / f"{page}.md").is_file()


def test_the_citation_is_of_this_version() -> None:
    """CITATION.cff names the version and licence of pyproject.toml."""
    text = (checkout.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = checkout.pyproject()["project"]

    assert f"\nversion: {project['version']}\n" in text
    assert f"\nlicense: {project['license']}\n" in text
