"""The plan of a sweep: the state of its cells, their order, and what they will cost."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from fake_worker import make_config, make_outcome

from qsgd_lab.errors import IntegrityError
from qsgd_lab.runs.config import COMPONENT_VERSIONS, RunConfig
from qsgd_lab.runs.packed import pack
from qsgd_lab.runs.plan import Plan, seed_major
from qsgd_lab.runs.store import RunStore


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a store whose folder is not there yet."""
    return RunStore(tmp_path / "runs")


def finish(store: RunStore, config: RunConfig, total_s: float = 1.0) -> None:
    """Put a record in the store."""
    with store.claim(config) or pytest.fail("the cell was not free"):
        outcome = dataclasses.replace(make_outcome(config), timing={"total_s": total_s})
        store.write(config, outcome, {})


def test_states(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell is done, held by another, made with other component versions, or missing."""
    stale, done, running, missing = (make_config(seed) for seed in range(4))
    finish(store, stale)
    monkeypatch.setitem(COMPONENT_VERSIONS, "training", 10**6)
    finish(store, done)
    with store.claim(running) or pytest.fail("the cell was not free"):
        plan = Plan.make([stale, done, running, missing], store)
    assert [cell.state for cell in plan.cells] == ["stale", "done", "running", "missing"]
    assert plan.configs("stale", "missing") == [stale, missing]
    assert plan.count("done") == 1
    assert plan.configs() == [stale, done, running, missing]


def test_planning_writes_nothing(store: RunStore) -> None:
    """A plan on a folder that is not there does not make it."""
    plan = Plan.make([make_config()], store)
    assert plan.count("missing") == 1
    assert not store.path.exists()


def test_damage_of_a_cell_stops_the_plan(store: RunStore) -> None:
    """A cell whose record is damaged is named before anything is run; other damage the plan only tells of."""
    finish(store, make_config())
    store.record_path(make_config()).write_text("{")
    with pytest.raises(IntegrityError, match=r"run\.json is not a sound record"):
        Plan.make([make_config()], store)
    plan = Plan.make([make_config(1)], store)
    assert plan.count("missing") == 1
    assert f"skipped 1 damaged run: {store.record_path(make_config())}" in str(plan.contents.warning)


def test_packed_cells_are_done(store: RunStore) -> None:
    """A cell in a packed file of the folder is done, and its time is among those of the estimate."""
    for seed in range(2):
        finish(store, make_config(seed), total_s=3.0)
    packed = pack(store.stored(record) for record in store.records())
    shutil.rmtree(store.path)
    store.path.mkdir()
    (store.path / "packed.jsonl").write_bytes(packed)
    plan = Plan.make([make_config(seed) for seed in range(3)], store)
    assert [cell.state for cell in plan.cells] == ["done", "done", "missing"]
    assert plan.eta_s(1) == pytest.approx(3.0)


def test_seed_major() -> None:
    """All cells of the first seed come first, in the given order; the seeds' own order is kept."""
    configs = [make_config(seed, nodes) for nodes in (4, 1) for seed in (7, 2)]
    order = [(config.seed, config.nodes) for config in seed_major(configs)]
    assert order == [(7, 4), (7, 1), (2, 4), (2, 1)]


def test_duplicates() -> None:
    """Configurations with the same key, such as fp32 with any rounding, are one cell in canonical form."""
    baseline = make_config(bits=32)
    twin = dataclasses.replace(baseline, rounding="nearest", error_feedback=True)
    assert seed_major([baseline, twin, baseline]) == [baseline.canonical()]


def test_eta_without_history(store: RunStore) -> None:
    """Without a finished run of the same model, preset and nodes no estimate is invented."""
    finish(store, make_config(0, nodes=1))
    assert Plan.make([make_config(1, nodes=2)], store).eta_s(1) is None
    assert Plan.make([make_config(0, nodes=1)], store).eta_s(1) == 0.0


def test_eta(store: RunStore) -> None:
    """The estimate is the mean time an epoch, times epochs, over the jobs, but at least the longest cell."""
    finish(store, make_config(0, epochs=3), total_s=3.0)
    finish(store, make_config(1, epochs=3), total_s=9.0)
    plan = Plan.make([make_config(seed, epochs=5) for seed in range(3)], store)
    assert plan.eta_s(1) == pytest.approx(3 * 5 * 2.0)
    assert plan.eta_s(2) == pytest.approx(3 * 5 * 2.0 / 2)
    assert plan.eta_s(8) == pytest.approx(5 * 2.0)


def test_bytes_to_write(store: RunStore) -> None:
    """The estimate of the bytes to write is at least what a run then writes, and not ten times more."""
    config = make_config(epochs=20)
    expected = Plan.make([config], store).bytes_to_write
    finish(store, config)
    written = sum(path.stat().st_size for path in store.folder(config).iterdir())
    assert written <= expected <= 10 * written
    assert Plan.make([config], store).bytes_to_write == 0
