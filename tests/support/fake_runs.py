"""Invented run records for the tests of the report: no number here was ever measured."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import RunRecord

FP32 = (32, None, False)
DEMO_METHODS = (
    FP32,
    (8, "stochastic", True),
    (4, "stochastic", True),
    (2, "stochastic", True),
    (2, "stochastic", False),
    (2, "nearest", False),
    (2, "nearest", True),
)


def config(**changes: Any) -> RunConfig:
    """Return a demo-like configuration, canonical, with the fields of ``changes`` replaced."""
    base = RunConfig(
        preset="demo",
        dataset="digits",
        model="alexnet",
        nodes=1,
        bits=2,
        rounding="stochastic",
        error_feedback=True,
        norm="max",
        bucket_size="model",
        seed=0,
        epochs=8,
        global_batch=32,
        learning_rate=0.03,
        momentum=0.9,
        weight_decay=0.0005,
        warmup=0.1,
        target_accuracy=0.95,
    )
    return dataclasses.replace(base, **changes).canonical()


def record(
    *,
    accuracy: float = 0.5,
    epochs_to_target: int | None = 3,
    status: str = "done",
    bits_per_coordinate: dict[str, float] | None = None,
    key: str | None = None,
    num_parameters: int = 1000,
    timing: dict[str, float] | None = None,
    **changes: Any,
) -> RunRecord:
    """Return the record of a run with the configuration ``config(**changes)``."""
    run = config(**changes)
    if bits_per_coordinate is None:
        bits_per_coordinate = invented_bits(run.bits)
    return RunRecord(
        key=run.key if key is None else key,
        status=status,  # type: ignore[arg-type]
        config=run,
        result={
            "test_accuracy": accuracy,
            "validation_accuracy": accuracy,
            "best_epoch": 2,
            "epochs_to_target": epochs_to_target,
            "steps_to_target": None if epochs_to_target is None else 39 * epochs_to_target,
            "epochs": run.epochs,
            "steps": 39 * run.epochs,
            "final_train_loss": 0.5,
            "num_parameters": num_parameters,
            "coordinates_sent": 39 * run.epochs * run.nodes * num_parameters,
            "bits_per_coordinate": bits_per_coordinate,
        },
        timing={"total_s": 1.5} if timing is None else timing,
        environment={"python": "3.11"},
    )


#: Any string that a record may hold; the store refuses what does not print.
names = st.text(max_size=12).filter(str.isprintable)


@st.composite
def sweeps(draw: st.DrawFn, text: st.SearchStrategy[str] = names) -> list[RunRecord]:
    """Draw 1 to 40 records of up to two presets and norms, with holes, diverged runs and missed targets."""
    presets = draw(st.lists(text, min_size=1, max_size=2, unique=True))
    rounding = st.sampled_from(["stochastic", "nearest", draw(text)])
    configs = st.builds(
        config,
        preset=st.sampled_from(presets),
        dataset=st.just(draw(text)),
        norm=st.sampled_from(["l2", "max"]),
        bits=st.sampled_from([1, 2, 8, 32]),
        rounding=rounding,
        error_feedback=st.booleans(),
        nodes=st.integers(1, 10),
        seed=st.integers(0, 4),
    )
    drawn = draw(st.lists(configs, min_size=1, max_size=40, unique=True))
    return [
        record(
            **dataclasses.asdict(one),
            accuracy=draw(st.floats(0, 1)),
            epochs_to_target=draw(st.none() | st.integers(1, 200)),
            status=draw(st.sampled_from(["done", "done", "diverged"])),
        )
        for one in drawn
    ]


def invented_bits(bits: int) -> dict[str, float]:
    """Return lengths that make fixed width, gamma and omega each the shortest at some ``bits``."""
    if bits == 32:
        return {"fp32": 32.0}
    return {"fixed": bits + 1.0, "gamma": 0.75 * bits, "delta": 0.7 * bits + 0.5, "omega": 0.5 * bits + 1.25}


def demo_records(seeds: tuple[int, ...] = (0, 1, 2)) -> list[RunRecord]:
    """Return a full sweep over `DEMO_METHODS`, N = 1, 2, 4, 8 and ``seeds``, with every kind of cell."""
    return [
        _demo_record(row, method, nodes, seed)
        for row, method in enumerate(DEMO_METHODS)
        for nodes in (1, 2, 4, 8)
        for seed in seeds
        if (row, nodes) != (1, 8) and (row, nodes, seed) != (5, 4, 2)
    ]


def _demo_record(row: int, method: tuple[int, str | None, bool], nodes: int, seed: int) -> RunRecord:
    bits, rounding, error_feedback = method
    diverged = row == 4 and (nodes == 1 or (nodes == 2 and seed == 1))
    reached = not diverged and not (row == 5 and seed < nodes - 1)
    return record(
        bits=bits,
        rounding=rounding,
        error_feedback=error_feedback,
        nodes=nodes,
        seed=seed,
        accuracy=0.125 if diverged else 0.9 + 0.01 * ((5 * row + 3 * seed + nodes) % 8),
        epochs_to_target=2 + (row + seed * nodes) % 5 if reached else None,
        status="diverged" if diverged else "done",
        num_parameters=159_578,
    )
