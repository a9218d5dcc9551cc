"""Checks of ``qsgd-lab doctor``: Python, the packages, torch and its device, numba and its cache."""

from __future__ import annotations

import json
import platform
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import qsgd_lab
from qsgd_lab.cli.doctor.finding import Finding
from qsgd_lab.cli.options.training import DRIVER_FILES
from qsgd_lab.errors import LabError

#: The newest that the package is tried with, as the classifiers of pyproject.toml say.
NEWEST_PYTHON = (3, 13)
REINSTALL = "python -m pip install --force-reinstall {}"
_CPU_FLAGS_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86, Arm


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """Say which Python runs, and on what; pip refuses to install under one that is too old."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if version > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        remedy = (
            f"Python {newest} is the newest that is tested; numba and torch may lack builds for later ones"
        )
        return Finding("Python", "warn", detail, remedy, necessary=True)
    return Finding("Python", "ok", detail, necessary=True)


def check_lab() -> Finding:
    """Say which qsgd-lab runs, and from where; warn where that is not the one that is installed."""
    folder = Path(qsgd_lab.__file__).resolve().parent
    detail = f"{qsgd_lab.__version__} in {folder}"
    installed = _installed_folder()
    if installed is not None and installed != folder:
        remedy = "start in another folder, or install this checkout: python -m pip install --editable ."
        return Finding(
            "qsgd-lab", "warn", f"{detail}, not the installed one in {installed}", remedy, necessary=True
        )
    return Finding("qsgd-lab", "ok", detail, necessary=True)


def _installed_folder() -> Path | None:
    """Return where pip put the package, or the checkout of an editable install; None if it does not say."""
    try:
        distribution = metadata.distribution("qsgd-lab")
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    if origin.get("dir_info", {}).get("editable"):
        return Path(url2pathname(urlsplit(origin["url"]).path)).resolve() / "qsgd_lab"
    copy = Path(str(distribution.locate_file("qsgd_lab"))).resolve()
    return copy if (copy / "__init__.py").is_file() else None


def check_packages() -> Finding:
    """Look for every package that qsgd-lab depends on."""
    names = required_packages()
    absent = [name for name in names if not _is_installed(name)]
    if absent:
        remedy = f"python -m pip install {' '.join(absent)}"
        return Finding("packages", "missing", f"not installed: {', '.join(absent)}", remedy, necessary=True)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    if old := [line for line in _requirements() if _is_too_old(line)]:
        remedy = f"python -m pip install --upgrade {' '.join(map(shlex.quote, old))}"
        return Finding(
            "packages", "warn", f"too old for {', '.join(old)}; {versions}", remedy, necessary=True
        )
    return Finding("packages", "ok", versions, necessary=True)


def _is_too_old(requirement: str) -> bool:
    """Whether the installed version is below the least that a requirement, such as ``numpy>=1.26``, takes."""
    name, _, least = requirement.partition(">=")
    return bool(least) and _numbers(metadata.version(name)) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (2, 13, 0) of ``2.13.0+cpu``."""
    return tuple(map(int, re.match(r"\d*(?:\.\d+)*", version)[0].split(".")))  # type: ignore[index]


def versions() -> dict[str, str]:
    """Return the version of Python and of every package that is needed; "not-installed" where absent."""
    return {
        "Python": platform.python_version(),
        **{
            name: metadata.version(name) if _is_installed(name) else "not-installed"
            for name in required_packages()
        },
    }


def required_packages() -> list[str]:
    """Return the names of the packages that qsgd-lab needs, extras left out."""
    return [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in _requirements()]


def _requirements() -> list[str]:
    return [line for line in metadata.requires("qsgd-lab") or [] if "extra ==" not in line]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_torch() -> Finding:
    """Import torch and say which device it computes on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            import torch

            detail = f"{torch.__version__}, {_describe_device()}"
        except Exception as error:  # a broken install raises anything: OSError from a shared library, ...
            return _broken("torch", error)
    if caught:
        # Such as a CUDA build of torch on a machine whose driver is too old.
        complaint = str(caught[0].message).splitlines()[0]
        return Finding("torch", "warn", detail, f"torch says: {complaint}", necessary=True)
    if torch.version.cuda is None and any(path.exists() for path in DRIVER_FILES):
        remedy = (
            "this torch has no CUDA, but there is an NVIDIA driver; install a build for CUDA: pytorch.org"
        )
        return Finding("torch", "warn", detail, remedy, necessary=True)
    return Finding("torch", "ok", detail, necessary=True)


def _describe_device() -> str:
    import torch

    if torch.cuda.is_available():
        bf16 = "yes" if torch.cuda.is_bf16_supported() else "no"
        return f"CUDA: {torch.cuda.get_device_name()} ({torch.cuda.device_count()} in all), bf16: {bf16}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"CPU ({capability}), CUDA: no, bf16 in hardware: {_cpu_bf16(Path('/proc/cpuinfo'))}"


def _cpu_bf16(cpuinfo: Path) -> str:
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return "unknown"
    return "yes" if words & _CPU_FLAGS_BF16 else "no"


def check_numba() -> Finding:
    """Import numba."""
    try:
        import numba
    except Exception as error:  # as for torch; a NumPy too new for numba is an ImportError
        return _broken("numba", error)
    return Finding("numba", "ok", numba.__version__, necessary=True)


def check_numba_cache() -> Finding:
    """Look whether numba can keep compiled kernels, so that not every process compiles them again."""
    try:
        import numba

        from qsgd_lab.kernels.jit import IS_COMPILED

        if not IS_COMPILED:
            detail = "not used: with NUMBA_DISABLE_JIT kernels run as plain Python, thousands of times slower"
            return Finding("numba cache", "warn", detail, "unset it, unless you debug a kernel")
        # Nothing is compiled: the place of the cache is looked for, and tried, when the function is declared.
        folder = numba.njit(cache=True, fastmath=False)(_example_kernel).stats.cache_path
    except ImportError as error:
        return Finding("numba cache", "warn", f"numba is not usable: {error}", "repair numba first")
    except RuntimeError as error:
        remedy = "set NUMBA_CACHE_DIR to a folder you can write to"
        return Finding("numba cache", "missing", str(error).splitlines()[0], remedy, necessary=True)
    return Finding("numba cache", "ok", f"writable: {folder}", necessary=True)


def _example_kernel(x: float) -> float:
    return x


def _broken(package: str, error: Exception) -> Finding:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Finding(package, "missing", lines[0], REINSTALL.format(package), necessary=True)


def check_plugins(imports: Sequence[str]) -> Finding:
    """Load the plug-ins of installed distributions and those that are named."""
    from qsgd_lab import plugins

    try:
        names = plugins.load(imports)
    except (ValueError, LabError) as error:
        return Finding("plug-ins", "warn", str(error), "repair it, or uninstall the package that brings it")
    return Finding("plug-ins", "ok", ", ".join(names) or "none")
