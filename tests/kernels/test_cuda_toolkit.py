"""Where NVVM is looked for, and what compute-sanitizer's answers become; no device is needed for either."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest

from qsgd_lab.gpu_check import sanitizer
from qsgd_lab.kernels.cuda import toolkit


@pytest.fixture
def homes(monkeypatch):
    """Return a list that replaces the folders in which a toolkit may be."""
    found = []
    monkeypatch.setattr(toolkit, "candidate_homes", lambda: found)
    monkeypatch.setenv("CUDA_HOME", "/nowhere")
    toolkit.toolkit.cache_clear()
    yield found
    toolkit.toolkit.cache_clear()


def lay_out(home, library_folder):
    """Make a folder with NVVM's library and its device code."""
    for path in (home / library_folder / "libnvvm.so.4", home / "nvvm" / "libdevice" / "libdevice.10.bc"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return home


def test_a_toolkit_in_the_usual_layout_is_taken_as_it_is(homes, tmp_path):
    """A folder with nvvm/lib64 is the toolkit, and the first such folder wins."""
    homes += [
        tmp_path / "empty",
        lay_out(tmp_path / "a", "nvvm/lib64"),
        lay_out(tmp_path / "b", "nvvm/lib64"),
    ]

    assert toolkit.toolkit() == tmp_path / "a"


def test_a_toolkit_from_pip_is_linked_into_the_usual_layout(homes, tmp_path, monkeypatch):
    """Where the library is in lib/, links put it at nvvm/lib64, and CUDA_HOME names them."""
    homes.append(lay_out(tmp_path / "cu13", "lib"))
    assert toolkit.show_toolkit_to_numba()
    links = toolkit.toolkit()
    assert os.environ["CUDA_HOME"] == str(links)
    assert (links / "nvvm" / "lib64" / "libnvvm.so.4").exists()
    assert (links / "nvvm" / "libdevice" / "libdevice.10.bc").exists()


def test_without_nvvm_there_is_no_toolkit(homes, tmp_path):
    """A folder that lacks the library or the device code is none, and CUDA_HOME stays."""
    (tmp_path / "nvvm" / "libdevice").mkdir(parents=True)
    homes.append(tmp_path)

    assert toolkit.toolkit() is None
    assert not toolkit.show_toolkit_to_numba()


def test_numba_cuda_is_loaded_with_what_numpy_dropped(monkeypatch):
    """Its array functions see NumPy's former ``row_stack`` while they load; afterwards NumPy is as it was."""
    seen, gone = [], "row_stack"
    monkeypatch.delattr(np, gone, raising=False)
    monkeypatch.setattr(toolkit.importlib.util, "find_spec", len)

    def load(name):
        seen.append((name, getattr(np, gone, None) is np.vstack))

    monkeypatch.setattr(toolkit.importlib, "import_module", load)

    assert toolkit.load_numba_cuda()
    assert seen == [("numba.cuda.np.arrayobj", True)]
    assert not hasattr(np, gone)
    monkeypatch.setattr(toolkit.importlib.util, "find_spec", {}.get)
    assert not toolkit.load_numba_cuda()


def test_the_sanitizers_verdicts(monkeypatch):
    """A tool that ends with 0 is clean; one that does not is quoted; where it is missing, nothing is run."""

    def run(command, **_):
        code = 9 if "racecheck" in command else 0
        return subprocess.CompletedProcess(command, code, "", "start\n== 1 hazard\n\n")

    monkeypatch.setattr(sanitizer.shutil, "which", lambda name: f"/bin/{name}")
    assert sanitizer.sanitize(run) == {"memcheck": "clean", "racecheck": "== 1 hazard", "initcheck": "clean"}
    monkeypatch.setattr(sanitizer.shutil, "which", lambda _: None)
    assert sanitizer.sanitize(run) == {"compute-sanitizer": "not installed: not run"}
