"""A sweep killed at any moment, in any of its processes, is resumed without loss and without repetition."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import fake_worker
import pytest
from fake_worker import make_config, make_configs, make_outcome
from waiting import PATIENCE_S, wait_until

from qsgd_lab.report import FORMATS, render
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore

NUM_CELLS = 6
NUM_EPOCHS = 4
CONFIGS = make_configs(NUM_CELLS, epochs=NUM_EPOCHS)


class Sweep:
    """A sweep in a process group of its own, on a folder, with a log of every epoch executed there."""

    def __init__(self, folder: Path) -> None:
        self.store = RunStore(folder / "runs")
        self.log = folder / "log"
        self.log.touch()
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, epoch_s: float = 0.02) -> subprocess.Popen[str]:
        environment = os.environ | {"FAKE_LOG": str(self.log), "FAKE_EPOCH_S": str(epoch_s)}
        command = [sys.executable, fake_worker.__file__, str(self.store.path), *options]
        self.process = subprocess.Popen(
            [*command, "--cells", str(NUM_CELLS), "--epochs", str(NUM_EPOCHS)],
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def finish(self, *options: str) -> str:
        """Run a sweep to its end and return what it wrote to stderr."""
        process = self.start(*options, epoch_s=0.002)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        return errors

    def executed(self) -> list[tuple[str, int, int]]:
        """Return (key, epoch, process id) of every epoch begun so far."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(key, int(epoch), int(pid)) for key, epoch, pid in lines]

    def wait_until_executed(self, num_epochs: int) -> None:
        wait_until(lambda: len(self.executed()) >= num_epochs)

    def results(self) -> list[tuple[str, object, bytes]]:
        """Return all that must not depend on what happened: status, result and epochs of each record."""
        return [
            (record.key, (record.status, record.result), self.store.epochs_path(record.key).read_bytes())
            for record in self.store.records()
        ]

    def table(self, format_name: str) -> str:
        """Return the table of the finished cells."""
        return render(sorted(self.store.records(), key=lambda record: record.key), format_name)

    def kill_all(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """Return a sweep on a folder of its own; what still runs at the end of the test is killed."""
    sweep = Sweep(tmp_path)
    yield sweep
    sweep.kill_all()


@pytest.fixture(scope="module")
def undisturbed_sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return a sweep in one process that nothing happened to."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"))
    sweep.finish("--jobs", "1")
    assert len(sweep.results()) == NUM_CELLS
    return sweep


@pytest.fixture(scope="module")
def undisturbed(undisturbed_sweep: Sweep) -> list[tuple[str, object, bytes]]:
    """Return its results."""
    return undisturbed_sweep.results()


def kill_group(sweep: Sweep) -> None:
    """End all processes of the sweep at once, as a reboot or an out-of-memory killer of the group does."""
    assert sweep.process is not None
    os.killpg(sweep.process.pid, signal.SIGKILL)
    sweep.process.communicate()


def kill_parent(sweep: Sweep) -> None:
    """End the scheduler alone; its workers must follow it, and let go of their cells."""
    assert sweep.process is not None
    sweep.process.kill()
    sweep.process.communicate()
    wait_until(lambda: not any(sweep.store.is_claimed(config) for config in CONFIGS))


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_killed_then_resumed(
    sweep: Sweep, undisturbed: object, kill: Callable[[Sweep], None], moment: int
) -> None:
    """After kill -9 the same command redoes only the epochs that were running, to the same bytes."""
    chance = random.Random(moment)
    sweep.start("--jobs", "2")
    sweep.wait_until_executed(chance.randrange(1, NUM_CELLS * NUM_EPOCHS))
    time.sleep(chance.uniform(0, 0.03))
    kill(sweep)

    done: dict[str, RunRecord] = {record.key: record for record in sweep.store.records()}
    begun = Counter(key for key, _, _ in sweep.executed())
    sweep.finish("--jobs", "2")

    total = Counter(key for key, _, _ in sweep.executed())
    assert sweep.results() == undisturbed
    for key, record in done.items():
        assert sweep.store.record(key) == record, "a finished cell was written again"
        assert total[key] == begun[key] == NUM_EPOCHS
    repeated = {key: count - NUM_EPOCHS for key, count in total.items() if count > NUM_EPOCHS}
    assert len(repeated) <= 2, "at most the cells of the two workers"
    assert set(repeated.values()) <= {1}, "at most the epoch that was running"
    assert not list(sweep.store.path.glob("*/.*.part"))


@pytest.mark.slow
def test_killed_twenty_times(sweep: Sweep, undisturbed_sweep: Sweep) -> None:
    """Killed 20 times at random moments, from its first imports on, a sweep ends with the same table."""
    chance = random.Random(20)
    records_at_kill = []
    for _ in range(20):
        begun = len(sweep.executed())
        sweep.start("--jobs", "2", epoch_s=0.1)
        nearly_done = len(list(sweep.store.records())) >= NUM_CELLS - 2
        epochs = 0 if nearly_done else chance.choice([0, 1, 3, 4])
        sweep.wait_until_executed(begun + epochs)
        time.sleep(chance.uniform(0, 0.1 if epochs else 0.25))  # none begun: it is still starting
        records_at_kill.append(len(list(sweep.store.records())))
        kill_group(sweep)
    assert 0 < records_at_kill[-1] < NUM_CELLS, "kills must come both before and after cells are done"
    sweep.finish("--jobs", "2")
    assert sweep.results() == undisturbed_sweep.results()
    for name in FORMATS:
        assert sweep.table(name) == undisturbed_sweep.table(name)
    assert not list(sweep.store.path.glob("*/.*.part"))


def test_workers_follow_their_parent(sweep: Sweep) -> None:
    """When the scheduler alone is killed, a worker deep in its work dies at once, and its cell comes free."""
    sweep.start("--jobs", "1", epoch_s=600)
    sweep.wait_until_executed(1)
    assert sum(map(sweep.store.is_claimed, CONFIGS)) == 1
    kill_parent(sweep)


@pytest.mark.parametrize("moment", range(3))
def test_killed_worker(sweep: Sweep, undisturbed: object, moment: int) -> None:
    """A worker's death by kill -9 costs the sweep that worker's epoch, and nothing of the outcome."""
    chance = random.Random(100 + moment)
    process = sweep.start("--jobs", "2")
    sweep.wait_until_executed(chance.randrange(1, NUM_CELLS * NUM_EPOCHS - 4))
    time.sleep(chance.uniform(0, 0.02))
    with suppress(ProcessLookupError):  # if this test was so slow that the sweep has ended
        os.kill(sweep.executed()[-1][2], signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert sweep.results() == undisturbed
    assert len(sweep.executed()) <= NUM_CELLS * NUM_EPOCHS + 1


def test_two_sweeps_at_once(sweep: Sweep, undisturbed: object) -> None:
    """Two commands on one store both succeed, and between them execute every epoch exactly once."""
    gate = sweep.store.path.with_name("gate")
    first, second = (sweep.start("--jobs", jobs, "--gate", str(gate)) for jobs in "12")
    wait_until(lambda: sum(map(sweep.store.is_claimed, CONFIGS)) == 3)  # as many as both have workers
    gate.touch()
    for process in (first, second):
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    assert sweep.results() == undisturbed
    assert len(sweep.executed()) == NUM_CELLS * NUM_EPOCHS


def test_holder_killed_while_another_waits(sweep: Sweep) -> None:
    """A sweep that waits for another's cells takes them over when that other is killed."""
    first = sweep.start("--jobs", "1", epoch_s=600)
    sweep.wait_until_executed(1)
    second = sweep.start("--jobs", "1", epoch_s=0.002)
    wait_until(lambda: len(list(sweep.store.records())) == NUM_CELLS - 1)
    assert second.poll() is None, "it must wait for the cell that the first holds"
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    _, errors = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, errors
    assert len(sweep.results()) == NUM_CELLS


def test_interrupted(sweep: Sweep, undisturbed: object) -> None:
    """Ctrl-C, sent to the whole group, keeps all epochs that are done, ends with 130 and no traceback."""
    process = sweep.start("--jobs", "2", epoch_s=0.2)
    sweep.wait_until_executed(6)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert len(sweep.results()) < NUM_CELLS
    sweep.finish("--jobs", "2")
    assert sweep.results() == undisturbed
    assert len(sweep.executed()) == NUM_CELLS * NUM_EPOCHS


def test_interrupted_twice(sweep: Sweep) -> None:
    """The second Ctrl-C does not wait for a worker that does not listen."""
    process = sweep.start("--jobs", "1", "--model", "hangs")
    sweep.wait_until_executed(1)
    config = make_config(epochs=NUM_EPOCHS, model="hangs")
    os.kill(process.pid, signal.SIGINT)
    assert process.stderr is not None
    assert "stopping: interrupt\n" in iter(process.stderr.readline, "")  # reads on as far as this line
    assert process.poll() is None
    assert sweep.store.is_claimed(config)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    wait_until(lambda: not sweep.store.is_claimed(config))


def test_undisturbed_results(undisturbed: list[tuple[str, tuple[str, object], bytes]]) -> None:
    """The reference that the killed sweeps are held against is the pure function of the configurations."""
    expected = {config.key: ("done", make_outcome(config).result) for config in CONFIGS}
    assert {key: outcome for key, outcome, _ in undisturbed} == expected
