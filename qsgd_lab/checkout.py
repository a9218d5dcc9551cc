"""Imports inside a checkout, where `qsgd_lab.cli` and `qsgd_lab.theory` are folders beside the package.

An install has them inside it. From the top of a checkout Python finds ``./qsgd_lab`` before an install, and
would then miss these two.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_FOLDERS = {"qsgd_lab.cli": "cli", "qsgd_lab.theory": "theory"}
_ROOT = Path(__file__).parent.parent


class FindBeside:
    """Finds the two folders, and nothing else: neither tests nor docs become parts of the package."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return where one of the two is; None for any other module."""
        return PathFinder.find_spec(name, [str(_ROOT)]) if name in _FOLDERS else None


def find_folders_beside() -> None:
    """Let imports find the folders of this checkout, before those of another that is installed editable."""
    if all((_ROOT / name / "__init__.py").is_file() for name in _FOLDERS.values()):
        sys.meta_path.insert(0, FindBeside())
