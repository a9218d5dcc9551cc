"""The memory of this machine, for refusing an array before it is allocated."""

from __future__ import annotations

import os


def machine_memory() -> int | None:
    """Return the bytes of memory that this machine has, or None where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
