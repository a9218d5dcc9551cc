"""Methods, models and data sets from outside the package, under their own names.

A plug-in is a Python file or module that registers what it brings, such as
``COMPRESSORS.register(Method(...))``, or an .npz file, which is a data set. It is named on the command line
by ``--import`` or ``--data``, or found through an entry point of an installed distribution. What it is (a
version, a digest of its file) becomes part of the key of every run that uses it, so that no run is taken for
another.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qsgd_lab.errors import LabError
from qsgd_lab.files import read_bytes
from qsgd_lab.origins import Loading, loading

#: Names of plug-ins, joined by `os.pathsep`: worker processes import what the command imported.
VARIABLE = "QSGD_LAB_IMPORT"
#: Entry points are loaded for their effect: the module registers what it brings.
GROUPS = ("qsgd_lab.compressors", "qsgd_lab.algorithms", "qsgd_lab.models", "qsgd_lab.datasets")
_DIGITS = 12
#: What Python imports from a package's folder, and what a digest of it covers.
_SUFFIXES = (*importlib.machinery.SOURCE_SUFFIXES, *importlib.machinery.EXTENSION_SUFFIXES)
_loaded: dict[str, str] = {}
#: Modules that plug-ins have imported: what one of them registers was registered then.
_imported: set[str] = set()


def load(names: Sequence[str]) -> list[str]:
    """Import plug-ins, and leave their names in the environment for the processes that train.

    Parameters
    ----------
    names : sequence of str
        Files ending in ``.py`` or ``.npz``, or modules.

    Returns
    -------
    list of str
        All that were wanted, those of installed distributions first.

    Raises
    ------
    ValueError
        In one line, if one cannot be imported, registers nothing, or two things of one kind have one name.
    """
    for name in map(_resolved, names):
        if os.pathsep in name:
            raise ValueError(f"cannot import {name}: rename it without {os.pathsep!r}, which joins names")
    wanted_here = list(dict.fromkeys([*_entry_points(), *map(_resolved, names)]))
    for name in wanted_here:
        _import(name)
    if names:
        earlier = [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
        wanted = dict.fromkeys([*earlier, *map(_resolved, names)])
        os.environ[VARIABLE] = os.pathsep.join(wanted)
    return wanted_here


def load_from_environment() -> None:
    """Import what a parent process imported, and the plug-ins of installed distributions."""
    load([name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name])


def _resolved(name: str) -> str:
    """Return a file's absolute path: a worker may have another working directory."""
    return str(Path(name).resolve()) if name.endswith((".py", ".npz")) else name


def _entry_points() -> list[str]:
    """Return the modules that installed distributions bring; each names its distribution as origin."""
    found = []
    for group in GROUPS:
        for point in importlib.metadata.entry_points(group=group):
            if point.dist is not None:
                _loaded.setdefault(f"origin of {point.module}", f"{point.dist.name} {point.dist.version}")
            found.append(point.module)
    return list(dict.fromkeys(found))


def _import(name: str) -> None:
    if name in _loaded:
        return
    if name.endswith(".npz"):
        _register_data(Path(name))
    else:
        try:
            _import_file(Path(name)) if name.endswith(".py") else _import_module(name)
        except LabError:
            raise
        except ValueError as error:  # the registries' and the plug-in's own: all say whose they are
            raise ValueError(f"cannot import {name}: {error}") from error
        except KeyboardInterrupt:
            raise
        except SystemExit as error:
            raise ValueError(f"cannot import {name}: it exits with {error.code}") from error
        except BaseException as error:  # whatever else the plug-in's own code raises
            raise ValueError(f"cannot import {name}: {type(error).__name__}: {error}") from error
    _loaded[name] = name


def _import_file(path: Path) -> None:
    if not path.exists():
        raise ValueError("there is no such file")
    code = path.read_bytes()
    module_name = f"qsgd_lab_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    with _origin(f"{path.name} sha256:{_digest(code)}", module_name):
        exec(compile(code, str(path), "exec"), module.__dict__)  # the bytes that were digested


def _register_data(path: Path) -> None:
    register = importlib.import_module("qsgd_lab.data.array_file").register_array_file
    content = read_bytes(path, "save arrays there with numpy.savez")
    with _origin(f"{path.name} sha256:{_digest(bytes(content))}", path.name):
        register(path)


def _import_module(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ValueError("no module of this name; write a file with its ending .py")
    code = _code_of(name)
    digest = _digest(code) if code else "-"
    distribution = _loaded.get(f"origin of {name}", name)
    with _origin(f"{distribution} sha256:{digest}", name):
        importlib.import_module(name)


def _code_of(name: str) -> bytes:
    """Return a module's code; of one in a package the paths and code of the whole package.

    A plug-in that is a package registers in one file what another one computes.
    """
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = importlib.util.find_spec(".".join(parts[:depth]))
        origin = spec.origin if spec is not None else None
        if origin is not None and Path(origin).is_file():  # a namespace package has no file
            break
    else:
        return b""
    folder = Path(origin).parent
    if spec is None or spec.submodule_search_locations is None:
        return Path(origin).read_bytes()
    files = sorted(path for suffix in _SUFFIXES for path in folder.rglob(f"*{suffix}"))
    return b"".join(
        b"%s\0%d\0" % (path.relative_to(folder).as_posix().encode(), path.stat().st_size) + path.read_bytes()
        for path in files
    )


@contextmanager
def _origin(text: str, name: str) -> Iterator[None]:
    """Give what is registered inside its origin; refuse a plug-in that registers nothing."""
    plugin, before = Loading(text), set(sys.modules)
    token = loading.set(plugin)
    try:
        yield
    finally:
        loading.reset(token)
    if not plugin.registered and name not in _imported:
        raise ValueError("it registers no method, model, data set or problem; see docs/extending.md")
    _imported.update(sys.modules.keys() - before)


def _digest(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()[:_DIGITS]
