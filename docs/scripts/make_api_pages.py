"""Write docs/api/: a page a module of the library, for Sphinx to fill from the docstrings. Not committed."""

from __future__ import annotations

import importlib.util
import pkgutil
import shutil
from pathlib import Path

import click

import qsgd_lab

FOLDER = Path(__file__).resolve().parent.parent / "api"

#: Left out: what nobody imports, or what has a page of its own in docs/.
LEFT_OUT = {
    "qsgd_lab.__main__": "runs the command line",
    "qsgd_lab.bench": "behind the command bench",
    "qsgd_lab.cli": "docs/cli.md has the commands",
    "qsgd_lab.coding.device": "the device twins of qsgd_lab.coding",
    "qsgd_lab.gpu_check": "behind make gpu-check",
    "qsgd_lab.kernels": "compiled functions without docstrings that Python can see",
    "qsgd_lab.report.figures": "behind the command plot",
    "qsgd_lab.report.flaws": "behind the command flaws",
    "qsgd_lab.report.formats": "behind the command table",
    "qsgd_lab.report.notes": "behind the command table",
    "qsgd_lab.report.page": "behind the command report",
    "qsgd_lab.report.tables": "behind the command table",
}
#: A function of the package and one of its modules have the same name.
SHADOWED = {"qsgd_lab.report", "qsgd_lab.models"}

_PAGE = "# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n{index}```\n"


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
    """Write the pages and their list."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    names = module_names()
    for name in names:
        assert importlib.util.find_spec(name), name
        index = "   :no-index:\n" if name in SHADOWED else ""
        (FOLDER / f"{name}.md").write_text(_PAGE.format(name=name, index=index), encoding="utf-8")
    exported = "\n".join(f"   {name}" for name in names)
    top = "# Python interface\n\nWhat `import qsgd_lab as ql` gives, then a page for each module.\n\n"
    members = "".join(
        f"   .. autoclass:: {n}\n" if _is_class(n) else f"   .. autofunction:: {n}\n" for n in _top()
    )
    block = f"```{{eval-rst}}\n.. module:: qsgd_lab\n\n{members.replace('   ..', '..')}```\n"
    toc = f"\n```{{toctree}}\n:maxdepth: 1\n\n{exported.replace('   ', '')}\n```\n"
    (FOLDER / "index.md").write_text(top + block + toc, encoding="utf-8")


def _top() -> list[str]:
    return list(qsgd_lab.__all__)


def _is_class(name: str) -> bool:
    return isinstance(getattr(qsgd_lab, name), type)


if __name__ == "__main__":
    main()
