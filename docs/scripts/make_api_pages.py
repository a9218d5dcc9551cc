"""Write docs/api/: a page a module of the library, for Sphinx to fill from the docstrings. Not committed."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import click

import qsgd_lab

FOLDER = Path(__file__).resolve().parent.parent / "api"

#: Left out: what no user imports, or what has a page of its own in docs/.
LEFT_OUT = {
    "qsgd_lab.__main__": "runs the command line",
    "qsgd_lab.bench": "behind the command bench",
    "qsgd_lab.cli": "docs/cli.md has the commands",
    "qsgd_lab.data.download": "behind the command data",
    "qsgd_lab.gpu_check": "behind make gpu-check",
    "qsgd_lab.kernels": "compiled functions without docstrings that Python can see",
    "qsgd_lab.report.figures": "behind the command plot",
    "qsgd_lab.report.flaws": "behind the command flaws",
    "qsgd_lab.report.formats": "behind the command table",
    "qsgd_lab.report.notes": "behind the command table",
    "qsgd_lab.report.page": "behind the command report",
    "qsgd_lab.report.tables": "behind the command table",
    "qsgd_lab.theory.checks": "behind the commands variance, code-length and convergence",
}
# Orphans: 200 names in the sidebar of each page would hide the others, and take most of the time of a build.
_PAGE = """---
orphan: true
---

# `{name}`

```{{eval-rst}}
.. automodule:: {name}
   :members:
   :ignore-module-all:
```
"""
_TOP = """# Python interface

`import qsgd_lab as ql` gives:

{rows}
Everything else is imported from its module:

{pages}"""


def module_names() -> list[str]:
    """Return the modules that have a page."""
    found = pkgutil.walk_packages(qsgd_lab.__path__, "qsgd_lab.", onerror=lambda _name: None)
    return sorted(name for name in (module.name for module in found) if not _is_left_out(name))


def _is_left_out(name: str) -> bool:
    parts = name.split(".")
    ancestors = [".".join(parts[:i]) for i in range(2, len(parts) + 1)]
    return any(ancestor in LEFT_OUT for ancestor in ancestors) or parts[-1].startswith("_")


@click.command()
def main() -> None:
    """Write the pages and their list; one that is current keeps its date, so that Sphinx need not read it."""
    FOLDER.mkdir(exist_ok=True)
    names = module_names()
    texts = {f"{name}.md": _PAGE.format(name=name) for name in names}
    rows = "".join(f"* {{py:obj}}`{name} <{_place(name)}>`: {_summary(name)}\n" for name in qsgd_lab.__all__)
    pages = "".join(f"* [`{name}`]({name}.md): {_first_line(name)}\n" for name in names)
    texts["index.md"] = _TOP.format(rows=rows, pages=pages)
    for old in FOLDER.glob("*.md"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition(
        "\n"
    )[0]


def _place(name: str) -> str:
    """Return where one of the package's names is defined, by which Sphinx finds its description."""
    found = getattr(qsgd_lab, name)
    return f"{found.__module__}.{found.__qualname__}"


def _summary(name: str) -> str:
    return (inspect.getdoc(getattr(qsgd_lab, name)) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
