"""What plug-ins have registered in this process, taken back."""

from __future__ import annotations

import os
import sys

#: Modules with a table of named things; its module also counts which names come from outside.
TABLES = {"models": "MODELS", "data.registry": "DATASETS", "problems.registry": "PROBLEMS"}
REGISTRIES = {"compressors.registry": "COMPRESSORS", "algorithms.registry": "ALGORITHMS"}


def take_back() -> None:
    """Leave the registries and the environment as they are before the first plug-in."""
    for module, table in TABLES.items():
        if module := sys.modules.get(f"qsgd_lab.{module}"):
            for name in module._origins._outside:
                getattr(module, table).pop(name, None)
            module._origins._outside.clear()
    for module, registry in REGISTRIES.items():
        if module := sys.modules.get(f"qsgd_lab.{module}"):
            getattr(module, registry)._outside.clear()
    if module := sys.modules.get("qsgd_lab.plugins"):
        module._loaded.clear()
        os.environ.pop(module.VARIABLE, None)
