"""What `qsgd-lab doctor` finds, and what it makes of it."""

from __future__ import annotations

import json
import os
import sys
import types
import warnings

import pytest
from click.testing import CliRunner

from qsgd_lab.cli.doctor import doctor as doctor_module
from qsgd_lab.cli.doctor import machine, software
from qsgd_lab.cli.doctor.finding import Finding, conclusion
from qsgd_lab.cli.main import cli
from qsgd_lab.data.cifar10.release import OFFICIAL
from qsgd_lab.data.registry import DATASETS, DatasetEntry, Source
from qsgd_lab.errors import DataMissingError, LabError

FINE = Finding("numba", "ok", "0.68.1", necessary=True)
OPTIONAL = Finding("LaTeX", "missing", "not found: latexmk", "install it")
FATAL = Finding("torch", "missing", "No module named 'torch'", "install it", necessary=True)


@pytest.mark.parametrize(
    ("findings", "code", "last_line"),
    [
        ([FINE], 0, "All is well."),
        ([FINE, OPTIONAL], 0, "Everything necessary is there; 1 of 2 could be better."),
        ([FINE, OPTIONAL, FATAL], 1, "The lab cannot work yet: torch."),
    ],
)
def test_only_what_is_necessary_fails(monkeypatch, findings, code, last_line):
    """The exit code is 1 exactly when something necessary is missing, in both formats."""
    monkeypatch.setattr(doctor_module, "examine", lambda *_: findings)

    text = CliRunner().invoke(cli, ["doctor"])
    data = CliRunner().invoke(cli, ["doctor", "--format", "json"])
    assert text.exit_code == data.exit_code == code
    assert text.stdout.splitlines()[-1] == last_line == conclusion(findings)
    assert json.loads(data.stdout)["ok"] == (code == 0)


def test_every_remedy_is_shown(monkeypatch):
    """The text report shows the status, the finding and the remedy of each check."""
    monkeypatch.setattr(doctor_module, "examine", lambda *_: [FINE, OPTIONAL])

    output = CliRunner().invoke(cli, ["doctor"]).stdout
    for finding in (FINE, OPTIONAL):
        assert all(part in output for part in (finding.status, finding.name, finding.detail, finding.remedy))


def test_this_machine_is_healthy(tmp_path):
    """On a machine that runs the tests nothing necessary is missing, and each fault has a remedy."""
    findings = doctor_module.examine(tmp_path / "runs")

    assert [finding for finding in findings if finding.is_fatal] == []
    assert [finding for finding in findings if finding.status != "ok" and not finding.remedy] == []
    assert len({finding.name for finding in findings}) == len(findings)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("module", ["torch", "numba"])
def test_a_package_that_does_not_import_is_fatal(monkeypatch, module):
    """A package that cannot be imported is reported with the command that reinstalls it."""
    monkeypatch.setitem(sys.modules, module, None)

    finding = getattr(software, f"check_{module}")()
    assert finding.is_fatal
    assert finding.remedy.endswith(f"pip install --force-reinstall {module}")
    assert machine.check_threads().status == "warn"


def test_a_cuda_device_is_named(monkeypatch):
    """On a machine with a GPU the device, their number and bf16 are shown instead of the processor."""
    cuda = pytest.importorskip("torch").cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(cuda, "get_device_name", lambda: "Example GPU")
    monkeypatch.setattr(cuda, "device_count", lambda: 2)

    finding = software.check_torch()
    assert finding.status == "ok"
    assert finding.detail.endswith("CUDA: Example GPU (2 in all), bf16: yes")


def test_what_torch_complains_of_is_passed_on(monkeypatch):
    """A warning of torch's, such as that of a driver too old, is shown; the lab still works."""
    cuda = pytest.importorskip("torch").cuda

    def complain():
        warnings.warn("the driver is too old\nsecond line", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(cuda, "is_available", complain)
    finding = software.check_torch()
    assert (finding.status, finding.remedy) == ("warn", "torch says: the driver is too old")


def test_required_packages_leave_extras_out():
    """What is looked for is what qsgd-lab needs, without the CUDA extra."""
    names = software.required_packages()

    assert {"numpy", "numba", "torch", "pytest-benchmark"} <= set(names)
    assert "numba-cuda" not in names


def test_an_absent_package_is_named(monkeypatch):
    """A package that is not installed is fatal, and named in the command that installs it."""
    monkeypatch.setattr(software, "required_packages", lambda: ["numpy", "no-such-package"])

    finding = software.check_packages()
    assert finding.is_fatal
    assert finding.remedy == "python -m pip install no-such-package"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("flags : fpu avx512_bf16\n", "yes"), ("flags : fpu avx2\n", "no"), (None, "unknown")],
)
def test_bf16_is_read_from_the_processor(tmp_path, text, expected):
    """Hardware bf16 is a flag of /proc/cpuinfo; without that file it is unknown."""
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)

    assert software._cpu_bf16(cpuinfo) == expected


def test_an_unwritable_numba_cache_is_fatal(monkeypatch):
    """Kernels that cannot be cached cannot be declared, so the place must be corrected."""
    numba = pytest.importorskip("numba")

    def refuse(**options):
        raise RuntimeError("cannot cache function 'f': no locator available")

    monkeypatch.setattr(numba, "njit", refuse)
    finding = software.check_numba_cache()
    assert finding.is_fatal
    assert "NUMBA_CACHE_DIR" in finding.remedy


@pytest.mark.parametrize(("content", "expected"), [("50000 100000", 0.5), ("max 100000", None), ("", None)])
def test_a_container_may_have_less_than_its_cores(tmp_path, content, expected):
    """A cgroup's quota bounds the usable cores; without one they are those of the process."""
    (tmp_path / "cpu.max").write_text(content)

    assert machine.usable_cores(tmp_path) == (expected or len(os.sched_getaffinity(0)))


def test_more_threads_than_cores_is_a_warning(monkeypatch):
    """Threads beyond the cores are reported with the variables that lower them."""
    monkeypatch.setattr(machine, "usable_cores", lambda: 0.5)

    finding = machine.check_threads()
    assert finding.status == "warn"
    assert finding.remedy == "export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1"


def test_cifar10_is_found_in_every_form(tmp_path):
    """Both archives and both unpacked folders are found; if none is, the command that fetches is named."""
    entry = DATASETS["cifar10"]
    finding = machine.check_files(entry, [tmp_path])
    assert (finding.status, finding.remedy) == ("missing", "qsgd-lab data fetch")
    assert str(tmp_path) in finding.detail

    for edition in OFFICIAL.editions:
        archive = tmp_path / edition.archive
        with archive.open("wb") as file:
            file.truncate(edition.fingerprint.num_bytes)
        assert machine.check_files(entry, [tmp_path / "elsewhere", tmp_path]).status == "ok"
        archive.unlink()

        place = tmp_path / f"place of {edition.folder}"
        (place / edition.folder).mkdir(parents=True)
        assert machine.check_files(entry, [place]).status == "warn"
        for name in edition.members:
            (place / edition.folder / name).touch()
        assert machine.check_files(entry, [place]).status == "ok"


def test_a_cut_archive_is_a_warning(tmp_path):
    """An archive of the wrong size, as a broken download leaves it, is not taken for good."""
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"cut")

    finding = machine.check_files(DATASETS["cifar10"], [tmp_path])
    assert finding.status == "warn"
    assert "3 bytes instead of 170052171" in finding.detail


def test_a_runs_folder_that_is_a_file_is_fatal(tmp_path):
    """Runs cannot be kept under a file."""
    (tmp_path / "file").touch()

    assert machine.check_runs_folder(tmp_path / "file").is_fatal
    assert machine.check_runs_folder(tmp_path / "file" / "runs").is_fatal
    assert machine.check_runs_folder(tmp_path / "a" / "b").status == "ok"


def test_a_read_only_or_full_disk_is_reported(monkeypatch, tmp_path):
    """A folder that refuses a file is fatal; a disk with little space is a warning."""
    monkeypatch.setattr(machine, "MIN_FREE_BYTES", 2**80)
    assert machine.check_runs_folder(tmp_path).status == "warn"

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert machine.check_runs_folder(tmp_path).is_fatal


def test_latex_files_are_asked_of_kpsewhich(monkeypatch, tmp_path):
    """What kpsewhich does not find is named, and no LaTeX at all is not a failure."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.check_latex().detail == "not found: latexmk, kpsewhich"
    assert not machine.check_latex().is_fatal

    for tool in ("latexmk", "kpsewhich"):
        script = tmp_path / tool
        script.write_text("#!/bin/sh\necho /texmf/IEEEtran.cls\necho /texmf/booktabs.sty\nexit 1\n")
        script.chmod(0o755)
    assert machine.check_latex().detail == "not found: siunitx.sty"


def test_every_data_set_of_files_is_looked_for(monkeypatch, tmp_path):
    """A registered data set has a finding of its own: not there, there, or wrong by its name and size."""

    def find(folders):
        for folder in folders:
            if (folder / "own.bin").is_file():
                return types.SimpleNamespace(path=folder / "own.bin", form="file")
        raise DataMissingError("own.bin is wanted")

    def fault(copy):
        return None if copy.path.stat().st_size else "is empty"

    source = Source(find, lambda *_: None, lambda _: None, lambda _: {}, fault)
    entry = DatasetEntry("own", "my own images", (1, 2, 2), 2, (4, 4, 4), lambda: None, source=source)
    monkeypatch.setitem(DATASETS, "own", entry)
    monkeypatch.setenv("QSGD_LAB_DATA", str(tmp_path))

    def finding():
        return next(f for f in doctor_module.examine(tmp_path / "runs") if f.name == "my own images")

    assert (finding().status, finding().remedy) == ("missing", "qsgd-lab data fetch own")
    (tmp_path / "own.bin").touch()
    assert finding().detail == f"{tmp_path / 'own.bin'} is empty"
    (tmp_path / "own.bin").write_bytes(b"x")
    assert finding().status == "ok"
    assert "qsgd-lab data verify own" in finding().detail


def test_a_broken_plug_in_is_a_warning(tmp_path):
    """The doctor says which plug-in cannot be imported, and goes on."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    finding = software.check_plugins([str(tmp_path / "broken.py")])
    assert finding.status == "warn"
    assert "cannot import" in finding.detail
    assert software.check_plugins([]).status == "ok"


def test_a_checkout_that_hides_the_installed_package_is_named(monkeypatch, tmp_path):
    """Where another qsgd-lab is installed than the one that runs, doctor says both places."""
    copy = tmp_path / "qsgd_lab"
    copy.mkdir()
    (copy / "__init__.py").touch()
    origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    for text in (json.dumps(origin), None):  # editable, and a copy in site-packages
        installed = types.SimpleNamespace(
            read_text=lambda _name, text=text: text, locate_file=lambda name: tmp_path / name
        )
        monkeypatch.setattr(software.metadata, "distribution", lambda _name, found=installed: found)
        finding = software.check_lab()
        assert finding.status == "warn"
        assert str(copy) in finding.detail


def test_what_is_too_old_or_too_new_is_named(monkeypatch):
    """A package below the least version, and a Python above the newest tested one, are warned of."""
    monkeypatch.setattr(software.metadata, "requires", lambda _name: ["numpy>=99.1", "click>=8.1"])

    assert software.check_packages().status == "warn"
    assert "numpy>=99.1" in software.check_packages().remedy
    assert "click>=" not in software.check_packages().remedy
    assert software.check_python((3, 99)).status == "warn"
    assert software.check_python((3, 11)).status == "ok"


def test_a_torch_without_cuda_beside_a_driver_is_named(monkeypatch, tmp_path):
    """A build of torch for processors on a machine with an NVIDIA driver is warned of."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(software, "DRIVER_FILES", (tmp_path,))

    assert "NVIDIA" in software.check_torch().remedy


def test_a_file_system_without_locks_is_missing(monkeypatch, tmp_path):
    """Without locks a sweep cannot claim its runs, and doctor says so before one is started."""

    def refused(_path):
        raise LabError("no locks")

    monkeypatch.setattr(machine.Claim, "take", refused)
    finding = machine.check_runs_folder(tmp_path)

    assert finding.is_fatal
    assert "locks" in finding.detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("columns", "status"), [("60", "warn"), ("80", "ok")])
def test_a_narrow_terminal_is_named(monkeypatch, columns, status):
    """Below 80 columns tables come in blocks."""
    monkeypatch.setenv("COLUMNS", columns)

    assert machine.check_terminal().status == status
