"""Which runs share a table, and their places in it."""

from __future__ import annotations

import dataclasses

import pytest
from fake_runs import config, demo_records, record, sweeps
from hypothesis import given

from qsgd_lab.errors import IntegrityError
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.notes.captions import caption
from qsgd_lab.runs.record import RunRecord

METHOD_NODES_AND_SEED = (
    *("bits", "rounding", "error_feedback", "compressor", "algorithm", "plugins"),
    *("nodes", "seed"),
)


@given(sweeps())
def test_groups_never_mix_settings(records: list[RunRecord]) -> None:
    """In a group, all but method, nodes and seed agrees; fp32 alone may lack the norm and the bucket."""
    by_key = {run.key: run.config for run in records}

    for group in group_records(records):
        for key in group.run_keys:
            for name, value in group.shared.items():
                own = getattr(by_key[key], name)
                assert own == value or (own is None and by_key[key].is_full_precision)


@given(sweeps())
def test_every_run_is_shown_once_in_its_cell(records: list[RunRecord]) -> None:
    """Each run is in the cell of its method and nodes, quantized ones in exactly one group."""
    shown = [
        (key, method.label, cell.nodes)
        for group in group_records(records)
        for method in group.methods
        for cell in method.cells
        for key in cell.run_keys
    ]
    quantized = [run for run in records if not run.config.is_full_precision]

    assert set(shown) == {(run.key, run.config.method, run.config.nodes) for run in records}
    assert sum(label != "fp32" for _, label, _ in shown) == len(quantized)


@given(sweeps())
def test_captions_tell_tables_apart(records: list[RunRecord]) -> None:
    """No two tables of one output have the same caption."""
    groups = group_records(records)
    captions = [caption(group, groups) for group in groups]

    assert len(set(captions)) == len(captions)


@given(sweeps())
def test_seeds_of_a_cell_and_its_missing_seeds_make_up_the_table(records: list[RunRecord]) -> None:
    """What a cell has and what it lacks are together the seeds of the table."""
    for group in group_records(records):
        for method in group.methods:
            for cell in method.cells:
                assert sorted(cell.seeds + cell.missing_seeds) == list(group.seeds)


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "other"},
        {"dataset": "other"},
        {"model": "other"},
        {"norm": "l2"},
        {"bucket_size": 512},
        {"epochs": 9},
        {"global_batch": 64},
        {"learning_rate": 0.5},
        {"target_accuracy": 0.5},
    ],
)
def test_a_difference_makes_another_table(change: dict[str, object]) -> None:
    """Runs that differ in one setting come in two tables, and each caption or title names its own."""
    groups = group_records([record(), record(**change)])  # type: ignore[arg-type]

    assert [len(group.run_keys) for group in groups] == [1, 1]
    assert len({caption(group, groups) for group in groups}) == 2


def test_baseline_stands_in_every_table_that_it_fits() -> None:
    """A fp32 run has no norm, so it is the baseline of both norms, and not of another preset."""
    baseline = record(bits=32)
    groups = group_records([record(norm="max"), record(norm="l2"), record(preset="other"), baseline])

    assert [(group.shared["preset"], group.shared["norm"]) for group in groups] == [
        ("demo", "l2"),
        ("demo", "max"),
        ("other", "max"),
    ]
    assert [baseline.key in group.run_keys for group in groups] == [True, True, False]


def test_baseline_alone_is_a_table() -> None:
    """fp32 runs without quantized ones still make a table, with no word of a norm."""
    (group,) = group_records([record(bits=32)])

    assert [method.label for method in group.methods] == ["fp32"]
    assert "norm" not in caption(group)


def test_order_of_rows_and_columns() -> None:
    """fp32 comes first, then bits fall; within them stochastic + EF, stochastic, nearest, nearest + EF."""
    (group,) = group_records(reversed(demo_records()))

    assert [method.label for method in group.methods] == [
        "fp32",
        "8 bit, stochastic + EF",
        "4 bit, stochastic + EF",
        "2 bit, stochastic + EF",
        "2 bit, stochastic",
        "2 bit, nearest",
        "2 bit, nearest + EF",
    ]
    assert group.nodes == (1, 2, 4, 8)


def test_runs_of_other_versions_stand_apart() -> None:
    """A run whose key shows other component versions never shares a table with a current one."""
    groups = group_records([record(), record(key="0123456789ab")])

    assert [group.is_current for group in groups] == [True, False]
    assert "another version" in caption(groups[1], groups)


def test_two_runs_of_one_cell_and_seed_are_refused() -> None:
    """Where two stale runs claim the same place, neither is silently chosen."""
    with pytest.raises(IntegrityError, match="runs 000000000001 and 000000000002 have the same"):
        group_records([record(key="000000000002"), record(key="000000000001")])


def test_absurd_bits_are_harmless() -> None:
    """A record may claim any number of bits; no power of two of it is computed."""
    (group,) = group_records([record(bits=2**62)])

    assert group.methods[0].num_levels is None


def test_inner_fields_are_fields_of_a_run() -> None:
    """The fields that vary inside a table are all there in the configuration, and the rest is shared."""
    (group,) = group_records([record()])
    names = {field.name for field in dataclasses.fields(config())}

    assert set(group.shared) == names - set(METHOD_NODES_AND_SEED)
