"""Keep Numba's on-disk cache honest across files.

Numba refreshes a cached kernel when the file that defines it changes, but not when a function that was
inlined from another file does: editing ``philox.py`` would leave the old words inside the cached quantizer. A
digest of all kernel sources is kept beside the cache; when it differs, the cached kernels are removed.

Numba numbers a kernel's cached files by an index that it reads and writes without a lock: two processes that
compile two signatures at once could give both the same number. Here one process at a time does so.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from pathlib import Path
from typing import Any

from filelock import FileLock

from qsgd_lab.files import replace_whole

_DIGEST_NAME = "kernel-sources.sha256"


def sources_digest(folder: Path) -> str:
    """Return the SHA-256 of the paths and contents of all Python files of a folder and its subfolders."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def drop_stale_kernels(folder: Path) -> bool:
    """Remove cached kernels that were compiled from other sources; return whether there were any to judge.

    Sources and caches of subfolders count too: Numba writes a cache beside the sources of each folder, and
    kernels of one folder inline functions of another. A cache that cannot be written is left alone: then
    Numba keeps its own elsewhere, by path and date.
    """
    cache = folder / "__pycache__"
    stamp = cache / _DIGEST_NAME
    digest = sources_digest(folder)
    with contextlib.suppress(OSError):
        if stamp.read_text() == digest:
            return False
    with contextlib.suppress(OSError):
        for pattern in ("*.nbi", "*.nbc"):
            for path in folder.rglob(f"__pycache__/{pattern}"):
                path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        replace_whole(stamp, digest.encode())
    return True


def lock_cache_index(dispatcher: Any) -> Any:
    """Have a compiled function enter its signatures in Numba's cache under a lock; return the function.

    Where the file system has no locks, it saves without one, as Numba does.
    """
    index = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if index is None:  # not cached
        return dispatcher
    save = index.save

    @functools.wraps(save)
    def save_alone(key: Any, data: Any) -> None:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(NotImplementedError, OSError):
                stack.enter_context(FileLock(f"{index._index_path}.lock", fallback_to_soft=False))
            save(key, data)

    index.save = save_alone
    return dispatcher
