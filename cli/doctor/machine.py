"""Checks of ``qsgd-lab doctor``: threads against cores, the folder of the runs, LaTeX.

The embedded digits, and the files of the other data sets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qsgd_lab.cli.doctor.finding import Finding
from qsgd_lab.data.cifar10.find import search_folders
from qsgd_lab.data.registry import DEFAULT_DATASET, DatasetEntry
from qsgd_lab.errors import DataMissingError, LabError
from qsgd_lab.runs.claim import Claim
from qsgd_lab.terminal import DEFAULT_WIDTH, text_width

#: A sweep's records are small; below this much free disk something else will fail first.
MIN_FREE_BYTES = 2**30
LATEX_FILES = ("IEEEtran.cls", "booktabs.sty", "siunitx.sty")
LATEX_REMEDY = (
    "apt-get install texlive-publishers texlive-science texlive-latex-recommended "
    "texlive-fonts-recommended latexmk (only to compile the paper)"
)


def check_threads() -> Finding:
    """Compare the threads that torch and numba use with the cores."""
    try:
        import numba
        import torch
    except Exception as error:
        return Finding("threads", "warn", f"cannot be counted: {error}", "repair torch and numba first")
    cores = usable_cores()
    threads = {"torch": torch.get_num_threads(), "numba": numba.get_num_threads()}
    detail = f"cores: {cores:g}, " + ", ".join(f"{name} threads: {n}" for name, n in threads.items())
    if max(threads.values()) > max(cores, 1):
        whole = max(int(cores), 1)
        remedy = f"export OMP_NUM_THREADS={whole} NUMBA_NUM_THREADS={whole}"
        return Finding("threads", "warn", detail, remedy)
    return Finding("threads", "ok", detail)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the number of cores this process may use, in a container possibly a fraction."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return min(float(cores), int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max" for no limit
        return float(cores)


def check_runs_folder(folder: Path) -> Finding:
    """Look whether runs can be written to `folder`, which need not exist, and whether its disk has space."""
    name = "runs folder"
    parent = _nearest_existing(folder)
    if not parent.is_dir():
        return Finding(
            name, "missing", f"{parent} is a file", "name another folder with --runs", necessary=True
        )
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        detail = f"cannot write in {parent}: {error.strerror}"
        return Finding(name, "missing", detail, "name another folder with --runs", necessary=True)
    if not _has_locks(parent):
        detail = f"the file system of {parent} has no locks, which sweeps need"
        return Finding(name, "missing", detail, "name a folder on a local disk with --runs", necessary=True)
    free = shutil.disk_usage(parent).free
    detail = f"{folder}: {'writable' if folder.exists() else 'can be made'}, {free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        return Finding(name, "warn", detail, "free some space, or name another folder with --runs")
    return Finding(name, "ok", detail, necessary=True)


#: File systems whose locks may be of one machine alone, by how they are mounted.
NETWORK_SYSTEMS = ("nfs", "lustre", "beegfs", "gpfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph")

#: Ends with 7 where the lock is held by another process, as it should be.
_TRY_LOCK = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1], fallback_to_soft=False).acquire(blocking=False)
except Timeout:
    sys.exit(7)
"""


def check_locks(folder: Path, mounts: Path = Path("/proc/mounts")) -> Finding:
    """Try whether a lock in the folder of the runs holds between processes, and what file system it is."""
    from filelock import FileLock

    name, remedy = "locks", "reproduce --locks lease, or qsgd-lab submit, whose tasks need none"
    parent = _nearest_existing(folder)
    try:
        with tempfile.TemporaryDirectory(dir=parent) as place:
            path = str(Path(place) / "probe.lock")
            with FileLock(path, fallback_to_soft=False):
                command = [sys.executable, "-c", _TRY_LOCK, path]
                code = subprocess.run(command, capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, "warn", f"no locks in {parent}: {error}", remedy)
    if code != _HELD:
        return Finding(name, "warn", f"a lock in {parent} does not hold between two processes", remedy)
    system = _file_system(parent, mounts)
    if system.startswith(NETWORK_SYSTEMS):
        detail = f"hold on this machine; between machines that is not known of {system}"
        return Finding(name, "warn", detail, f"on several machines: {remedy}")
    return Finding(name, "ok", "hold between processes")


_HELD = 7


def _file_system(folder: Path, mounts: Path) -> str:
    """Return the type of the file system of a folder; empty where it is not known."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    found = [(Path(line[1]), line[2]) for line in lines if len(line) > 2]
    inside = [(len(point.parts), kind) for point, kind in found if folder.resolve().is_relative_to(point)]
    return max(inside, default=(0, ""))[1]


def _has_locks(folder: Path) -> bool:
    """Whether the system locks files in a folder; some network file systems do not."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".qsgd-lab-") as own:
        try:
            claim = Claim.take(Path(own) / "probe.lock")
        except LabError:
            return False
        if claim is not None:
            claim.release()
    return True


def check_terminal() -> Finding:
    """Say how wide text is printed, and whether in colour."""
    width, is_terminal = text_width(), sys.stdout.isatty()
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not is_terminal
    where = "terminal" if is_terminal else "no terminal"
    detail = f"{where}, {width} columns, {'without' if plain else 'with'} colour"
    if width < DEFAULT_WIDTH:
        remedy = f"wide tables come in blocks; make the window {DEFAULT_WIDTH} columns wide, or set COLUMNS"
        return Finding("terminal", "warn", detail, remedy)
    return Finding("terminal", "ok", detail)


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_latex() -> Finding:
    """Look for latexmk, and for the class and packages that the tables and the paper use."""
    absent = [tool for tool in ("latexmk", "kpsewhich") if shutil.which(tool) is None]
    if "kpsewhich" not in absent:
        absent += _absent_latex_files()
    if absent:
        return Finding("LaTeX", "missing", f"not found: {', '.join(absent)}", LATEX_REMEDY)
    return Finding("LaTeX", "ok", f"latexmk, {', '.join(LATEX_FILES)}")


def _absent_latex_files() -> list[str]:
    command = ["kpsewhich", *LATEX_FILES]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return list(LATEX_FILES)
    found = {Path(line).name for line in output.splitlines()}
    return [name for name in LATEX_FILES if name not in found]


FETCH = "qsgd-lab data fetch"


def check_digits() -> Finding:
    """Look for the handwritten digits, which come with scikit-learn."""
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        table = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if table.is_file():
            return Finding("digits", "ok", "embedded: 1797 handwritten digits", necessary=True)
    remedy = "python -m pip install --force-reinstall scikit-learn"
    return Finding("digits", "missing", "scikit-learn's digits are not there", remedy, necessary=True)


def check_files(entry: DatasetEntry, folders: Sequence[Path] | None = None) -> Finding:
    """Look for a data set's files in `folders` (the usual ones by default), by names and sizes alone."""
    assert entry.source is not None
    folders = search_folders() if folders is None else folders
    name = "" if entry.name == DEFAULT_DATASET else f" {entry.name}"
    try:
        copy = entry.source.find(folders)
    except DataMissingError:
        return Finding(entry.title, "missing", f"not in {', '.join(map(str, folders))}", FETCH + name)
    fault = entry.source.fault(copy) if entry.source.fault else None
    if fault:
        return Finding(entry.title, "warn", f"{copy.path} {fault}", f"delete it, then: {FETCH}{name}")
    return Finding(entry.title, "ok", f"{copy.form} {copy.path} (checksums: qsgd-lab data verify{name})")
