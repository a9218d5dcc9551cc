"""Cached kernels are dropped when any kernel source has changed, and only then."""

from __future__ import annotations

import ast
import runpy
import shutil
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from qsgd_lab import kernels
from qsgd_lab.kernels import jit
from qsgd_lab.kernels.cache import drop_stale_kernels, sources_digest


@pytest.fixture
def folder(tmp_path):
    """Make a folder of two sources, with a cache that was judged once and then filled."""
    for name in ("philox.py", "quantize_cpu.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    drop_stale_kernels(tmp_path)
    for name in ("quantize_cpu.quantize_all-1.py311.nbi", "quantize_cpu.quantize_all-1.py311.1.nbc"):
        (tmp_path / "__pycache__" / name).write_bytes(b"machine code")
    (tmp_path / "__pycache__" / "philox.cpython-311.pyc").write_bytes(b"bytecode")
    return tmp_path


def cached(folder):
    """Return the suffixes in the cache, sorted, but for the digest's."""
    return sorted(path.suffix for path in (folder / "__pycache__").iterdir() if path.suffix != ".sha256")


def test_unchanged_sources_keep_their_kernels(folder):
    """As long as the sources are the same, nothing is removed."""
    assert not drop_stale_kernels(folder)
    assert cached(folder) == [".nbc", ".nbi", ".pyc"]


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_a_change_of_any_source_drops_all_kernels(folder, change):
    """Another file's change counts too, since its functions may be inlined; bytecode is left to Python."""
    philox = folder / "philox.py"
    if change == "edit":
        philox.write_text("# philox.PY\n")  # same length, and the date says nothing
    elif change == "add":
        (folder / "norms_cpu.py").touch()
    elif change == "remove":
        philox.unlink()
    else:
        philox.rename(folder / "philox_4x32.py")  # still the first of the two

    assert drop_stale_kernels(folder)
    assert cached(folder) == [".pyc"]
    assert not drop_stale_kernels(folder)


@pytest.fixture
def nested(folder):
    """Make a subfolder with a source and a cache of its own, judged together with the rest."""
    (folder / "cpu" / "__pycache__").mkdir(parents=True)
    (folder / "cpu" / "quantize.py").write_text("# quantize.py\n")
    drop_stale_kernels(folder)
    (folder / "cpu" / "__pycache__" / "quantize.quantize_all-1.py311.nbi").write_bytes(b"machine code")
    (folder / "__pycache__" / "philox.word-1.py311.nbi").write_bytes(b"machine code")
    return folder


def kernels_in(folder):
    """Return the names of all cached kernels under a folder."""
    return sorted(path.name for path in folder.rglob("*.nb[ic]"))


def test_unchanged_subfolders_keep_their_kernels(nested):
    """As long as the sources of all folders are the same, no folder loses a kernel."""
    before = kernels_in(nested)

    assert not drop_stale_kernels(nested)
    assert kernels_in(nested) == before
    assert len(before) == 2


@pytest.mark.parametrize("change", ["above", "below", "move"])
def test_a_change_in_any_folder_drops_the_kernels_of_all(nested, change):
    """A source above or below drops every cache, and so does a source that only changes its folder."""
    if change == "above":
        (nested / "philox.py").write_text("# philox.PY\n")
    elif change == "below":
        (nested / "cpu" / "quantize.py").write_text("# quantize.PY\n")
    else:
        (nested / "cuda").mkdir()
        (nested / "cpu" / "quantize.py").rename(nested / "cuda" / "quantize.py")

    assert drop_stale_kernels(nested)
    assert kernels_in(nested) == []
    assert not drop_stale_kernels(nested)


def test_kernels_of_unknown_origin_are_dropped(folder):
    """A cache without a digest, as an older version leaves it, is not trusted."""
    (folder / "__pycache__" / "kernel-sources.sha256").unlink()

    assert drop_stale_kernels(folder)
    assert cached(folder) == [".pyc"]


def test_a_cache_that_cannot_be_written_is_left_alone(tmp_path):
    """Where there can be no cache folder, importing goes on."""
    (tmp_path / "philox.py").touch()
    (tmp_path / "__pycache__").write_text("a file in the way")

    assert drop_stale_kernels(tmp_path)
    assert (tmp_path / "__pycache__").read_text() == "a file in the way"


def test_no_half_written_digest_is_left(folder):
    """The digest appears whole: no part file stays beside it."""
    stamps = [path.name for path in (folder / "__pycache__").iterdir() if "sha256" in path.name]

    assert stamps == ["kernel-sources.sha256"]
    assert (folder / "__pycache__" / stamps[0]).read_text() == sources_digest(folder)


def test_importing_the_compiler_judges_the_cache(folder):
    """The module that compiles drops stale kernels beside it when it is imported."""
    runpy.run_path(str(shutil.copy(Path(kernels.__file__).with_name("jit.py"), folder)))

    assert cached(folder) == [".pyc"]


def test_kernels_are_compiled_by_one_module():
    """No module takes ``njit`` from Numba past ``kernels.jit``, and the CUDA folder imports that first."""
    package = Path(kernels.__file__).parent
    others = [path for path in package.rglob("*.py") if path.name != "jit.py"]

    assert [path.name for path in others if "njit" in numba_names(path)] == []
    assert "import qsgd_lab.kernels.jit" in (package / "cuda" / "__init__.py").read_text()


def numba_names(path):
    """Return what a file imports from numba itself."""
    froms = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in froms if node.module == "numba" for alias in node.names}


def test_one_process_at_a_time_enters_a_kernel(tmp_path, monkeypatch):
    """While a signature is entered in Numba's index, another process cannot take the index's lock."""
    source = tmp_path / "made.py"
    source.write_text("def double(x):\n    return x + x\n")
    double = jit.njit(cache=True)(runpy.run_path(str(source))["double"])
    index = double._cache._cache_file
    save, seen = index._save_index, []

    def save_index(overloads):
        with pytest.raises(Timeout):
            FileLock(f"{index._index_path}.lock").acquire(timeout=0)
        seen.append(len(overloads))
        save(overloads)

    monkeypatch.setattr(index, "_save_index", save_index)
    assert (double(1), double(1.5)) == (2, 3.0)
    assert seen == [1, 2]
