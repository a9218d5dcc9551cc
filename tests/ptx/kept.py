"""What compiling kernels gives, kept on disk by what it was made from: several processes need the same.

The folder is the one that QSGD_LAB_PTX_CACHE names, or .ptx_cache of the checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("QSGD_LAB_PTX_CACHE", ROOT / ".ptx_cache"))


@cache
def sources() -> str:
    """Return a digest of all sources of compiled kernels: theirs, and those of what calls the compiler."""
    digest = hashlib.sha256()
    for path in [*sorted((ROOT / "qsgd_lab" / "kernels").rglob("*.py")), *_compilers()]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _compilers() -> list[Path]:
    tests = ROOT / "tests"
    return [tests / "ptx" / "ptx_server.py", tests / "support" / "ptx_compiler.py"]


def kept(made_from: str, make: Callable[[], Any]) -> Any:
    """Return what `make` returns, a value of JSON, made once for all processes."""
    stored = CACHE / f"{hashlib.sha256(made_from.encode()).hexdigest()[:24]}.json"
    if not stored.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        unique = stored.with_suffix(f".{os.getpid()}")
        unique.write_text(json.dumps(make()), encoding="utf-8")
        unique.replace(stored)  # at once, so that another process never reads a part
    return json.loads(stored.read_text(encoding="utf-8"))
