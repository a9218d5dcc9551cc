"""The staged device check without a device: a stage that fails leaves what it found, and others run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import checkout
import pytest

from qsgd_lab.gpu_check import diagnosis, staged
from qsgd_lab.gpu_check.staged import CRASHED, FAILED, FINE, LATE, Stage, file_of, run_stages, summary
from qsgd_lab.gpu_check.stages import STAGES

#: What a stand-in stage does, by its name.
BODIES = {
    "good": "yield {'found': 1}",
    "unequal": "yield {'failure': 'levels differ'}; yield {'found': 2}",
    "raises": "yield {'found': 1}; raise OSError('out of memory')",
    "hangs": "yield {'found': 1}; import time; time.sleep(600)",
    "dies": "yield {'found': 1}; import os; os._exit(3)",
    "last": "yield {'found': 1}",
}
SCRIPT = """
import sys
from pathlib import Path
from qsgd_lab.gpu_check.staged import Stage, perform

def run(how):
    {body}

perform(Stage({name!r}, 60, run), None, Path(sys.argv[1]))
"""
LIMITS = {"hangs": 3}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Return (records, folder, lines told) of the stand-in stages."""
    folder, told = tmp_path_factory.mktemp("stages") / "device", []
    stages = [Stage(name, LIMITS.get(name, 120), None) for name in BODIES]

    def command(stage):
        script = SCRIPT.format(name=stage.name, body=BODIES[stage.name])
        return [sys.executable, "-c", script, str(folder)]

    return run_stages(command, folder, 10, told.append, dict(os.environ), stages), folder, told


def test_each_stage_has_its_outcome_and_all_are_run(records):
    """A failure, an exception, a hang and a crash are told apart, and the last stage still runs."""
    found, _, told = records

    assert {record["stage"]: record["status"] for record in found} == {
        "good": FINE,
        "unequal": FAILED,
        "raises": CRASHED,
        "hangs": LATE,
        "dies": CRASHED,
        "last": FINE,
    }
    assert told[1].startswith("[2/6] unequal: failed: levels differ (")
    assert "OSError: out of memory" in told[2]


def test_what_was_found_is_on_disk(records):
    """Files hold the findings made before a stage failed, hung or crashed, and the times."""
    found, folder, _ = records
    for record in found:
        stored = json.loads((folder / f"{record['stage']}.json").read_text())
        assert stored == record
        assert stored["findings"] or record["status"] == LATE  # it may end before its process has begun

    assert (folder / "summary.md").read_text() == summary(found)
    assert "| hangs | out of time: ended after 3 s | " in summary(found)


def test_limits_are_shares_of_the_minutes(tmp_path):
    """With a tenth of the minutes, a stage has a tenth of its limit; one that never began is missing."""
    stages = [Stage("good", 50, None)]

    record = run_stages(lambda _: [sys.executable, "-c", ""], tmp_path, 1, [].append, {}, stages)[0]

    assert (record["limit"], record["status"]) == (5.0, CRASHED)
    assert file_of(stages[0], tmp_path).exists()


def test_all_stages_fit_into_ten_minutes():
    """The limits of the stages together are at most those of the whole check."""
    assert sum(stage.seconds for stage in STAGES) <= 60 * staged.FULL_MINUTES
    assert [stage.name for stage in STAGES[:2]] == ["versions", "first-kernel"]


READY = diagnosis.Driver((13, 0), 1)
CASES = [
    (diagnosis.Driver((0, 0), 0), True, (9, 0), "no driver"),
    (diagnosis.Driver((13, 0), 0), True, (9, 0), "no device"),
    (READY, False, None, "no NVVM"),
    (READY, True, (9, 5), "old driver"),
    (diagnosis.Driver((12, 4), 1), True, (9, 0), "old driver"),
    (READY, True, (9, 0), "ready"),
    (READY, True, (8, 8), "ready"),
    (READY, True, None, "ready"),
]


@pytest.mark.parametrize(("driver", "has_nvvm", "ptx", "state"), CASES, ids=range(len(CASES)))
def test_what_is_missing_is_told_apart(driver, has_nvvm, ptx, state):
    """No driver, no device, no NVVM and an old driver are different, and each says what helps in one line."""
    found = diagnosis.diagnose(driver, has_nvvm, ptx)

    assert found.state == state
    assert "\n" not in found.said


def test_the_remedy_names_the_version():
    """NVVM 13.5 before a driver of CUDA 13.0 names both versions, and the NVVM that fits."""
    said = diagnosis.diagnose(READY, True, (9, 5)).said

    assert "PTX of CUDA 13.5, the driver reads up to CUDA 13.0" in said
    assert "nvidia-nvvm==13.0.*" in said


def test_the_driver_is_asked():
    """Version and devices are the driver's; a library that is missing, or fails to begin, has no device."""

    def missing(name):
        raise OSError(name)

    def library(begins):
        def version(pointer):
            pointer._obj.value = 12080
            return 0

        def count(pointer):
            pointer._obj.value = 2
            return 0

        return SimpleNamespace(cuDriverGetVersion=version, cuInit=lambda _: begins, cuDeviceGetCount=count)

    assert diagnosis.ask_driver(missing) == diagnosis.Driver((0, 0), 0)
    assert diagnosis.ask_driver(lambda _: library(0)) == diagnosis.Driver((12, 8), 2)
    assert diagnosis.ask_driver(lambda _: library(100)) == diagnosis.Driver((12, 8), 0)


def check(*arguments):
    """Run the script of `make gpu-check`."""
    return subprocess.run(
        [sys.executable, "benchmarks/gpu_check.py", *arguments],
        cwd=checkout.ROOT,
        env={**os.environ, "QSGD_LAB_PTX": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_performs_stages_without_a_device(tmp_path):
    """The script runs stages in processes of their own in the simulator; an unknown stage is refused."""
    result = check("--dry", "--minutes", "100", "--only", "first-kernel", "--out", str(tmp_path))
    record = json.loads((tmp_path / "dry-run" / "first-kernel.json").read_text())

    assert result.returncode == 0, result.stderr
    assert (record["status"], record["findings"]) == (FINE, [{"equal": True, "failure": None}])
    assert check("--dry", "--only", "nothing").returncode == 2
