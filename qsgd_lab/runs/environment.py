"""The environment of a run: versions, device and machine, without a host name or a user's path."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import qsgd_lab
from qsgd_lab.runs.config import COMPONENT_VERSIONS

PACKAGES = ("torch", "numpy", "numba")


def collect_environment(
    device: str = "cpu", data_sha256: str | None = None
) -> dict[str, str | float | bool | None]:
    """Return the environment of this process as flat JSON-ready values.

    Versions come from the installed packages' metadata, so that neither torch nor numba is imported.

    Parameters
    ----------
    device : str
        What the run is computed on.
    data_sha256 : str or None
        Digest of its data set.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "python": platform.python_version(),
        "qsgd_lab": qsgd_lab.__version__,
        **{name: installed_version(name) for name in PACKAGES},
        "components": ", ".join(f"{name} {number}" for name, number in sorted(COMPONENT_VERSIONS.items())),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "data_sha256": data_sha256,
        "threads": int(threads) if threads.isdecimal() else os.cpu_count(),
        **checkout(),
    }


@functools.cache
def processor() -> str | None:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def installed_version(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def checkout() -> dict[str, str | bool | None]:
    """Return the commit and whether tracked files differ from it; null when not run from a checkout."""
    # Asking for a tracked file of ours keeps a virtual environment inside somebody's own repository apart.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": _git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    """Return git's answer about the package's folder, or None where there is no git or no repository."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        answer = subprocess.run(
            command,
            cwd=Path(qsgd_lab.__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
