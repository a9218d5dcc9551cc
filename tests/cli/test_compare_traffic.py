"""Traffic in ``qsgd-lab compare``: bits up and down, rounds and modelled time, collective by collective."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from qsgd_lab.cli.main import main
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.comparison.networks import network_outcome
from qsgd_lab.report.comparison.rows import seconds_at
from qsgd_lab.runs.epochs import EpochRecord
from qsgd_lab.runs.problem_record import ProblemRecord
from qsgd_lab.traffic import Flow


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QSGD_LAB_IMPORT", raising=False)


def compared(capsys, *methods, steps):
    """Return the rows of methods on a problem of four nodes with unlike curvatures."""
    arguments = ["--problem", "unlike-curvatures", "--nodes", "4", "--repeats", "3", "--steps", str(steps)]
    texts = [word for text in methods for word in ("--method", text)]
    assert main(["compare", *arguments, *texts, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("aggregates", "down", "bits", "seconds"),
    [
        ("sums", None, (4000, 4000), 6 + 3 / 4 * 2 * 4000 / 8),
        ("gathers", None, (4000, 12_000), 3 + 3 * 4000 / 8),
        ("two-phase", {"coordinates": 10_000, "bits": 2.0}, (3000, 1500), 6 + 4500 / 8),
        ("server", {"coordinates": 10_000, "bits": 2.0}, (4000, 2000), 2 + 4 * 6000 / 8),
        ("server", None, (4000, 32_000), 2 + 4 * 36_000 / 8),
    ],
)
def test_up_down_and_time_of_every_collective_by_hand(aggregates, down, bits, seconds):
    """N = 4, 1000 coordinates, ten steps, messages of 4 bits a coordinate, 1 byte a second, 1 s a message."""
    result = {"num_parameters": 1000, "coordinates_sent": 40_000, "steps": 10, "test_accuracy": 0.5}
    result["bits_per_coordinate"] = {"message": 4.0}
    config = SimpleNamespace(nodes=4, seed=0)
    run = SimpleNamespace(config=config, status="done", result={**result, **({"down": down} if down else {})})
    epochs = [EpochRecord(epoch, 5 * epoch, None, 0.5) for epoch in (1, 2)]
    outcome = network_outcome("m", aggregates, [run], [epochs])

    assert [outcome.sent_bits.tolist(), outcome.received_bits.tolist()] == [
        [5 * bits[0], 10 * bits[0]],
        [5 * bits[1], 10 * bits[1]],
    ]
    assert seconds_at(outcome, Link(1.0, 1.0)) == pytest.approx([5 * seconds, 10 * seconds])


def recorded(step, rounds, accuracy=0.5, **flows):
    """Return the record of an epoch with the flows of its collectives."""
    return EpochRecord(step // 5, step, None, accuracy, rounds, {k: Flow(*flow) for k, flow in flows.items()})


def run_of(seed, status="done"):
    """Return a run of ten steps of float32, N = 4 and n = 1000, as far as a comparison reads it."""
    result = {"num_parameters": 1000, "coordinates_sent": 40_000, "steps": 10, "test_accuracy": 0.5}
    result["bits_per_coordinate"] = {"fp32": 32.0}
    return SimpleNamespace(config=SimpleNamespace(nodes=4, seed=seed), status=status, result=result)


def test_recorded_traffic_is_summed_and_priced_by_collective():
    """Sums of 1000 float32 twice and gathered messages of 500 bytes ten times, and a schedule of its own."""
    epochs = [
        recorded(5, 5, gathers=(5, 20_000, 60_000)),
        recorded(10, 10, gathers=(10, 40_000, 120_000), sums=(2, 64_000, 64_000)),
    ]
    outcome = network_outcome("m", "gathers", [run_of(0)], [epochs])
    assert outcome.rounds.tolist() == [5, 10]
    assert outcome.sent_bits.tolist() == [20_000, 104_000]
    assert outcome.received_bits.tolist() == [60_000, 184_000]
    gather, ring = 3 + 3 * 500, 6 + 3 / 4 * 2 * 4000
    assert seconds_at(outcome, Link(1.0, 1.0)) == pytest.approx([5 * gather, 10 * gather + 2 * ring])


def test_recorded_traffic_is_a_mean_over_runs_that_got_there():
    """Diverged runs count where there are no others; older runs beside recorded ones are left out."""
    one = [recorded(5, 1, sums=(1, 10, 10)), recorded(10, 2, sums=(2, 20, 20))]
    two = [recorded(5, 3, sums=(3, 30, 30)), recorded(10, 4, sums=(4, 60, 60))]
    short = [recorded(5, 5, sums=(5, 900, 900)), recorded(7, 7, None, sums=(7, 999, 999))]
    older = [EpochRecord(1, 5, None, 0.5), EpochRecord(2, 10, None, 0.5)]
    runs = [run_of(0), run_of(1), run_of(2, "diverged"), run_of(3)]
    outcome = network_outcome("m", "sums", runs, [one, two, short, older])
    assert (outcome.rounds.tolist(), outcome.sent_bits.tolist()) == ([2, 3], [20, 40])
    alone = network_outcome("m", "sums", runs[2:3], [short])
    assert (alone.steps.tolist(), alone.sent_bits.tolist()) == ([5, 7], [900, 999])
    never = network_outcome("m", "sums", runs[:1], [[recorded(5, 0), recorded(10, 0)]])
    assert (never.bits.tolist(), seconds_at(never, Link(1.0, 1.0)).tolist()) == ([0, 0], [0, 0])


def test_older_runs_are_read_as_one_collective_evenly():
    """Their lines say nothing: 32 bits a coordinate, four nodes, ten steps, half of them at half time."""
    older = [EpochRecord(1, 5, None, 0.5), EpochRecord(2, 10, None, 0.5)]
    outcome = network_outcome("m", "sums", [run_of(0)], [older])
    assert outcome.sent_bits.tolist() == outcome.received_bits.tolist() == [160_000, 320_000]
    assert outcome.rounds.tolist() == [5, 10]


def test_problems_are_priced_by_what_was_sent(capsys):
    """Five gathered messages of 96 bytes take as long for CSER-PL's resets as for local SGD."""
    resets = "cser-pl(interval=4,resets=top-k(fraction=0.1))"
    differences = "local-sgd(interval=4,compressor=top-k(fraction=0.1))"
    for row in compared(capsys, resets, differences, steps=20):
        assert (row["rounds"], row["sent_bits"], row["received_bits"]) == (5, 3840, 3 * 3840)
        assert row["seconds"] == pytest.approx(5 * 3 * (50e-6 + 96 / 125e6))


def test_older_records_of_problems_are_read_by_one_collective(capsys, tmp_path):
    """Without flows a record keeps its bytes, and is priced by its compressor's collective."""
    method = "cser-pl(interval=4,resets=sign)"
    (row,) = compared(capsys, method, steps=8)
    (path,) = tmp_path.glob("runs/*/problem.json")
    document = json.loads(path.read_text())
    assert list(document["flows"]) == ["gathers"]
    for damaged in ({"gossip": document["flows"]["gathers"]}, {"sums": {}}, {"sums": 1}, 3):
        with pytest.raises(ValueError, match="flows"):
            ProblemRecord.from_json(json.dumps({**document, "flows": damaged}))
    short = {name: values[1:] for name, values in document["flows"]["gathers"].items()}
    with pytest.raises(ValueError, match="its lists differ in length"):
        ProblemRecord.from_json(json.dumps({**document, "flows": {"gathers": short}}))

    del document["flows"]
    old = json.dumps(document, sort_keys=True) + "\n"
    assert ProblemRecord.from_json(old).to_json() == old
    path.write_text(old)
    (again,) = compared(capsys, method, steps=8)
    assert {**again, "seconds": 0} == {**row, "seconds": 0}
    words = row["sent_bits"] / 2 / 32
    assert again["seconds"] == pytest.approx(2 * (6 * 50e-6 + 2 * 3 / 4 * 4 * round(words) / 125e6))
