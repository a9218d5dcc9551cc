"""What is installed is what is in the checkout, and nothing generic lands in site-packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import checkout
import pytest

import qsgd_lab

WHEEL_INPUTS = ["pyproject.toml", "README.md", "LICENSE", "AUTHORS"]


def packages_in_folders() -> set[str]:
    """Return the package of each folder with an __init__.py, by the package-dir map."""
    return {module for module, path in checkout.sources().items() if path.name == "__init__.py"}


def test_the_list_of_packages_is_complete():
    """pyproject.toml lists exactly the folders that are packages."""
    listed = checkout.pyproject()["tool"]["setuptools"]["packages"]

    assert set(listed) == packages_in_folders()
    assert len(listed) == len(set(listed))


def test_every_folder_with_sources_is_a_package():
    """No folder of Python files lacks its __init__.py, which would drop it from the wheel in silence."""
    folders = {path.parent for path in checkout.sources().values()}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_version_is_stated_once():
    """The package, its metadata and pyproject.toml name one version."""
    assert qsgd_lab.__version__ == metadata.version("qsgd-lab")
    assert qsgd_lab.__version__ == checkout.pyproject()["project"]["version"]


def test_the_installed_package_is_tested():
    """The checkout is not on sys.path, so that it cannot shadow an installed wheel."""
    assert checkout.ROOT not in {Path(entry).resolve() for entry in sys.path}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    """Return the names in a wheel built, without a network, from a copy of the sources."""
    pytest.importorskip("setuptools")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in WHEEL_INPUTS:
        shutil.copy(checkout.ROOT / name, source)
    for folder in checkout.package_folders().values():
        shutil.copytree(folder, source / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_the_wheel_has_one_top_level_name(wheel_names):
    """A wheel puts only qsgd_lab and its metadata into site-packages: no cli, no theory, no tests."""
    tops = {name.split("/")[0] for name in wheel_names}

    assert tops == {"qsgd_lab", f"qsgd_lab-{qsgd_lab.__version__}.dist-info"}


def test_the_wheel_holds_every_source(wheel_names):
    """Every source file of the checkout, and what they read, is in the wheel where it is imported from."""
    expected = {"qsgd_lab/py.typed", "qsgd_lab/report/page/page.css", "qsgd_lab/report/page/page.js"}
    for module, path in checkout.sources().items():
        folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
        expected.add(f"{folder.replace('.', '/')}/{path.name}")

    assert expected == {name for name in wheel_names if name.startswith("qsgd_lab/")}
