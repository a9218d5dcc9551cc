"""A sweep brings every cell to its record, once, whatever is killed, and whoever else is at work."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_worker import TRAIN, make_config, make_configs, make_outcome
from waiting import wait_until

from qsgd_lab.errors import RunFailedError
from qsgd_lab.runs import events
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.store import RunStore
from qsgd_lab.runs.sweep import TIME_IS_UP, SweepOutcome, run_sweep


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a store whose folder is not there yet."""
    return RunStore(tmp_path / "runs")


@pytest.fixture
def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """Return a function that counts the epochs executed so far, by key."""
    log = tmp_path / "log"
    log.touch()
    monkeypatch.setenv("FAKE_LOG", str(log))
    return lambda: Counter(line.split()[0] for line in log.read_text().splitlines())


def sweep(configs: list[RunConfig], store: RunStore, jobs: int = 1, **options: Any) -> SweepOutcome:
    """Run a sweep of the fake worker."""
    return run_sweep(configs, store, jobs=jobs, worker=TRAIN, **options)


def test_records(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """A sweep leaves each configuration's own result, an epoch's execution an epoch, and no checkpoint."""
    configs = make_configs(4)
    outcome = sweep([*configs, configs[0]], store, jobs=2)
    assert sorted(config.seed for config in outcome.finished) == [0, 1, 2, 3]
    assert (outcome.failed, outcome.remaining, outcome.stopped_by, outcome.exit_code) == ((), (), None, 0)
    for config in configs:
        record = store.record(config)
        assert record is not None
        assert record.result == make_outcome(config).result
        assert record.environment["threads"] == 1
        assert {path.name for path in store.folder(config).iterdir()} == {"run.json", "epochs.jsonl"}
    assert executions() == {config.key: config.epochs for config in configs}


def test_done_cells_are_not_run_again(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """A second sweep runs nothing, and starts no worker."""
    configs = make_configs(2)
    sweep(configs, store)
    before = executions()
    outcome = sweep(configs, store, on_event=lambda event: pytest.fail(str(event)))
    assert outcome.already_done == tuple(configs)
    assert executions() == before


def test_checkpoint_of_done_cell(store: RunStore) -> None:
    """A checkpoint that a killed process left beside its record is removed by the next sweep."""
    sweep(make_configs(1), store)
    store.checkpoint_path(make_config()).touch()
    sweep(make_configs(1), store)
    assert not store.checkpoint_path(make_config()).exists()


def test_jobs_do_not_matter(tmp_path: Path) -> None:
    """One job and three leave the same epochs and, but for the environment, the same records."""
    stores = [RunStore(tmp_path / str(jobs)) for jobs in (1, 3)]
    configs = make_configs(5)
    for jobs, store in zip((1, 3), stores, strict=True):
        sweep(configs, store, jobs=jobs)
    one, three = ([(record.config, record.result) for record in store.records()] for store in stores)
    assert one == three
    for config in configs:
        assert stores[0].epochs_path(config).read_bytes() == stores[1].epochs_path(config).read_bytes()


def test_events(store: RunStore) -> None:
    """A cell's events are its start, an event an epoch, and its record, in this order."""
    heard: list[events.Event] = []
    sweep([make_config()], store, on_event=heard.append)
    assert [type(event).__name__ for event in heard] == ["CellStarted"] + ["CellProgress"] * 3 + [
        "CellFinished"
    ]
    assert [event.epoch for event in heard if isinstance(event, events.CellProgress)] == [1, 2, 3]
    assert isinstance(heard[-1], events.CellFinished)
    assert heard[-1].record == store.record(make_config())


def test_stdout_stays_empty(store: RunStore, capfd: pytest.CaptureFixture[str]) -> None:
    """What a worker prints comes out on stderr: stdout is the product."""
    sweep([make_config()], store)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a library's chatter" in captured.err


def test_exception_in_a_cell(store: RunStore) -> None:
    """A cell that raises fails with one line and a traceback in its folder; the others go on; exit code 1."""
    bad, good = make_config(0, model="raises"), make_config(1)
    outcome = sweep([bad, good], store)
    assert outcome.failed == (events.CellFailed(bad, "ZeroDivisionError: division by zero"),)
    assert outcome.finished == (good,)
    assert outcome.exit_code == 1
    assert "Traceback" in store.error_log_path(bad).read_text()
    assert not store.is_claimed(bad)


def test_known_error_in_a_cell(store: RunStore) -> None:
    """An error made for the user is its message alone."""
    outcome = sweep([make_config(model="lacks data")], store)
    assert [failure.reason for failure in outcome.failed] == ["no data; fetch it"]


def test_damaged_record_found_by_a_worker(store: RunStore) -> None:
    """A record that is damaged while the sweep runs fails its cell and is not overwritten."""
    configs = make_configs(2)

    def damage(event: events.Event) -> None:
        if isinstance(event, events.CellProgress) and event.config == configs[0]:
            store.folder(configs[1]).mkdir(exist_ok=True)
            store.record_path(configs[1]).write_text("{")

    outcome = sweep(configs, store, on_event=damage)
    assert [failure.config for failure in outcome.failed] == [configs[1]]
    assert "not a sound record" in outcome.failed[0].reason
    assert store.record_path(configs[1]).read_text() == "{"


@pytest.mark.parametrize(
    ("model", "reason"), [("dies", "worker killed by signal 9"), ("exits", "worker exited with status 7")]
)
def test_worker_that_always_dies(
    store: RunStore, executions: Callable[[], Counter[str]], model: str, reason: str
) -> None:
    """A cell whose worker dies is tried twice in all, then fails with the cause; the others go on."""
    bad, good = make_config(0, model=model), make_config(1)
    outcome = sweep([bad, good], store)
    assert outcome.failed == (events.CellFailed(bad, reason),)
    assert outcome.finished == (good,)
    assert executions()[bad.key] == 2


def test_worker_that_dies_once(store: RunStore) -> None:
    """A cell whose worker is killed once is finished by a fresh worker, with the same result."""
    config = make_config(model="dies once")
    heard: list[events.Event] = []
    outcome = sweep([config], store, on_event=heard.append)
    assert outcome.finished == (config,)
    assert events.CellRetried(config, "worker killed by signal 9") in heard
    record = store.record(config)
    assert record is not None
    assert record.result == make_outcome(config).result


@pytest.mark.parametrize("worker", ["fake_worker:absent", "no_such_module:train", "fake_worker"])
def test_worker_that_cannot_be_imported(store: RunStore, worker: str) -> None:
    """A worker's name that leads nowhere ends the sweep at once, naming it."""
    with pytest.raises(RunFailedError, match=worker):
        run_sweep(make_configs(2), store, jobs=1, worker=worker)


def test_no_jobs(store: RunStore) -> None:
    """A sweep needs at least one job."""
    with pytest.raises(ValueError, match="at least 1"):
        sweep(make_configs(1), store, jobs=0)


def test_stopped_then_resumed(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """A stopped sweep starts no more cells and keeps the running one's epochs; none is redone later."""
    stop = threading.Event()

    def stop_at_progress(event: events.Event) -> None:
        if isinstance(event, events.CellProgress):
            stop.set()

    configs = make_configs(2, epochs=200)
    outcome = sweep(configs, store, stop=stop, on_event=stop_at_progress)
    assert (outcome.stopped_by, outcome.exit_code) == ("caller", 0)
    assert outcome.remaining == tuple(configs)
    assert 0 < executions().total() < 200
    assert sweep(configs, store).remaining == ()
    assert executions() == {config.key: 200 for config in configs}


def test_time_is_up(store: RunStore) -> None:
    """After max_time_s the sweep stops in the same way, and says that it was the time."""
    configs = make_configs(2, epochs=10**6)
    reasons: list[str] = []
    outcome = sweep(configs, store, max_time_s=0.5, on_stop=reasons.append)
    assert (outcome.stopped_by, outcome.exit_code) == ("time", TIME_IS_UP)
    assert outcome.remaining == tuple(configs)
    assert reasons == ["time"]


def test_time_is_up_when_nothing_remains() -> None:
    """Stopped by the clock as its last cell ended, a sweep is done: exit code 0, or 1 if a cell failed."""
    config = make_config()
    failure = events.CellFailed(config, "no luck")
    done = SweepOutcome((config,), (), (), (), "time")
    assert done.exit_code == 0
    assert SweepOutcome((), (), (failure,), (config,), "time").exit_code == 1


def test_no_time_at_all(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """Without time, or with the stop already set, nothing is started and all remains."""
    stop = threading.Event()
    stop.set()
    assert sweep(make_configs(2), store, stop=stop).stopped_by == "caller"
    assert len(sweep(make_configs(2), store, max_time_s=0).remaining) == 2
    assert executions() == {}


def test_interrupt(store: RunStore) -> None:
    """The first SIGINT stops the sweep with exit code 130, and the handler from before is back afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        configs = make_configs(2, epochs=1000)
        outcome = sweep(configs, store, on_event=_interrupt_at_first_progress())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.stopped_by, outcome.exit_code) == ("interrupt", 130)
    assert outcome.remaining == tuple(configs)
    assert store.checkpoint_path(configs[0]).exists()


def test_interrupt_of_a_sweep_in_the_background(store: RunStore) -> None:
    """A shell's `command &` starts with SIGINT ignored: a Ctrl-C meant for another program stops nothing."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        outcome = sweep(make_configs(2), store, on_event=_interrupt_at_first_progress())
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.stopped_by, outcome.exit_code, outcome.remaining) == (None, 0, ())


def _interrupt_at_first_progress() -> Callable[[events.Event], None]:
    interrupted = threading.Event()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.CellProgress) and not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)

    return listen


def test_cell_held_by_another(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """A cell that another process holds is put aside, and taken over once its holder lets go of it."""
    held, free = make_configs(2)
    claim = store.claim(held)
    assert claim is not None
    heard: list[events.Event] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        if isinstance(event, events.CellFinished) and event.config == free:
            claim.release()

    outcome = sweep([held, free], store, on_event=listen)
    assert outcome.finished == (free, held)
    assert events.CellWaiting(held) in heard
    assert executions()[held.key] == held.epochs


def test_cell_finished_by_another(store: RunStore, executions: Callable[[], Counter[str]]) -> None:
    """A cell that another process finishes meanwhile counts as finished, and is not run here."""
    held, free = make_configs(2)
    claim = store.claim(held)
    assert claim is not None

    def finish(event: events.Event) -> None:
        if isinstance(event, events.CellFinished) and event.config == free:
            store.write(held, make_outcome(held), {})
            claim.release()

    assert set(sweep([held, free], store, on_event=finish).finished) == {held, free}
    assert executions()[held.key] == 0


def test_listener_that_raises(store: RunStore) -> None:
    """When the listener raises, the workers end and their cells come free."""

    def listen(event: events.Event) -> None:
        raise RuntimeError("the display broke")

    config = make_config(model="hangs")
    with pytest.raises(RuntimeError, match="the display broke"):
        sweep([config], store, on_event=listen)
    wait_until(lambda: not store.is_claimed(config))
