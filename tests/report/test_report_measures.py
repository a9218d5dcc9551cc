"""What tables show besides accuracy: codes, traffic, times, the modelled network, published figures."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from fake_runs import record

from qsgd_lab.report import render
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.analysis.grouping import Group, group_records
from qsgd_lab.report.published import PUBLISHED
from qsgd_lab.report.tables.columns_published import published_figures_of
from qsgd_lab.report.tables.layout import Panel, lay_out
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord

TIMING = {"total_s": 3.9, "compute_s": 3.12, "quantize_s": 0.312, "other_s": 0.468}  # of 312 steps


def _runs(**fields: Any) -> list[RunRecord]:
    """Return fp32 and two bits on two nodes, a million coordinates, in known times."""
    common = {"nodes": 2, "num_parameters": 1_000_000, "timing": TIMING, **fields}
    return [record(bits=32, **common), record(bits=2, **common)]


def _panels(records: list[RunRecord], *show: str, **options: Any) -> dict[str, Panel]:
    (table,) = lay_out(group_records(records), TableOptions(show=show, **options))
    return {panel.title: panel for panel in table.panels}


def _column(panel: Panel, column: int = 0) -> list[str]:
    return [row.entries[column].number for row in panel.rows]


def test_traffic_by_hand() -> None:
    """Two bits send 1.5 bits a coordinate; on two nodes the ring moves one gradient, the gather a message."""
    panels = _panels(_runs(), "traffic")

    assert _column(panels["Sent per step (kB)"]) == ["4000.00", "187.50"]
    assert _column(panels["Moved per step (kB)"]) == ["4000.00", "187.50"]
    assert _column(panels["Sent in all (MB)"]) == ["1248.00", "58.50"]


def test_diverged_runs_are_not_bytes_and_are_named() -> None:
    """Bytes are those of the runs that ended; a cell without such runs shows its own steps, and says so."""
    common = {"bits": 2, "num_parameters": 1_000_000, "timing": TIMING}
    lost = {**common, "status": "diverged", "bits_per_coordinate": {"gamma": 0.5, "fixed": 3.0}}
    runs = [
        record(nodes=2, seed=0, **common),
        record(nodes=2, seed=1, **lost),
        record(nodes=1, seed=0, **lost),
        record(nodes=1, seed=1, **lost),
    ]
    runs[2].result["steps"], runs[3].result["steps"] = 100, 50
    (table,) = lay_out(group_records(runs), TableOptions(show=("traffic",)))
    (sent,) = (panel for panel in table.panels if panel.title == "Sent in all (MB)")

    assert [entry.number for entry in sent.rows[0].entries] == ["4.69", "58.50"]
    text = " ".join(render(runs, "text", TableOptions(show=("traffic",))).split())
    assert "Diverged runs are left out of the bytes: 2 bit, stochastic + EF at N=2 (1 of 2)." in text
    assert "All runs diverged, and are shown: 2 bit, stochastic + EF at N=1." in text


def test_volume_grows_with_nodes() -> None:
    """On eight nodes the ring moves 2 x 7/8 gradients and the gather seven messages."""
    panels = _panels(_runs(nodes=8), "traffic")

    assert _column(panels["Moved per step (MB)"]) == ["7.00", "1.31"]


def test_measured_time_by_hand() -> None:
    """Seconds of a run over its steps, and the parts that it recorded, in milliseconds."""
    panels = _panels(_runs(), "time")

    assert {title: _column(panel) for title, panel in panels.items()} == {
        "Measured time per step (ms)": ["12.50", "12.50"],
        "Of that, compute (ms)": ["10.00", "10.00"],
        "Of that, quantize (ms)": ["1.00", "1.00"],
        "Of that, other (ms)": ["1.50", "1.50"],
    }


def test_time_of_a_message() -> None:
    """Coding one message is timed apart from the steps, for the methods that have messages."""
    timing = {**TIMING, "encode_message_s": 0.002, "decode_message_s": 0.0005}
    panels = _panels([record(bits=32, timing=TIMING), record(bits=2, timing=timing)], "time")

    assert _column(panels["Encoding one message (ms)"]) == ["--", "2.00"]
    assert _column(panels["Decoding one message (ms)"]) == ["--", "0.50"]


def test_time_that_was_not_measured() -> None:
    """Parts that no run recorded have no panel, and a step without its parts cannot be modelled."""
    runs = _runs(timing={"total_s": 3.12})
    panels = _panels(runs, "time", "network")

    assert _column(panels["Measured time per step (ms)"]) == ["10.00", "10.00"]
    assert "Of that, compute (ms)" not in panels
    assert _column(panels["Modelled time per step (ms)"]) == ["--", "--"]
    assert "not measured" in render(runs, "text", TableOptions(show=("network",)))


def test_network_by_hand() -> None:
    """At 1 MB/s without latency: 5 ms of compute, 4 s or 0.1875 s of network, 1 ms of quantizing."""
    panels = _panels(_runs(), "network", link=Link(bandwidth=1e6))

    assert _column(panels["Modelled time per step (ms)"]) == ["4005.00", "193.50"]
    assert _column(panels["Modelled speed-up"]) == ["1.00", "20.70"]
    # 3 812 500 bytes saved in the millisecond that quantizing takes: 3.81 GB/s.
    assert _column(panels["Pays below"]) == ["--", "30.5 Gbit/s"]


def test_compute_of_the_user() -> None:
    """A compute time that is given replaces the measured one, for every method."""
    panels = _panels(_runs(), "network", link=Link(bandwidth=1e6), compute=1.0)

    assert _column(panels["Modelled time per step (ms)"]) == ["5000.00", "1188.50"]


def test_codes_in_their_order() -> None:
    """Every recorded code has its column: fixed width first, an unknown one last; fp32 has 32 bits."""
    bits = {"omega": 2.0, "zeta": 2.25, "auto": 1.5, "fixed": 3.0, "gamma": 1.75}
    panel = _panels([record(bits=32), record(bits_per_coordinate=bits)], "codes")["Bits/coord."]

    assert [column.heading for column in panel.columns] == ["fixed", "gamma", "omega", "auto", "zeta"]
    assert [[entry.number for entry in row.entries] for row in panel.rows] == [
        ["32.00", "--", "--", "--", "--"],
        ["3.00", "1.75", "2.00", "1.50", "2.25"],
    ]


def _group(*bits: int, **fields: Any) -> Group:
    (group,) = group_records([record(dataset="cifar10", bits=b, **fields) for b in bits])
    return group


def test_published_figures_match_by_levels() -> None:
    """QSGD's 4 bits have s = 7, which is 3 bits here; a row of 4 bits has no figure."""
    found = {
        row["method"]: row["accuracy_percent"]
        for row in published_figures_of(_group(32, 4, 3, model="resnet110", error_feedback=False))
        if row["source"] == "QSGD"
    }

    assert found == {"fp32": 93.86, "3 bit, stochastic": 94.19}


@pytest.mark.parametrize("convention", [None, "power-of-two"])
def test_published_report_matches_both_of_its_replays(convention: str | None) -> None:
    """The 2023 report's 8, 4 and 2 bits are in the rows of as many bits, whether s is 2^b or 2^b - 1."""
    group = _group(32, 8, 4, 2, model="alexnet-227", convention=convention)
    found = {row["method"]: row["accuracy_percent"] for row in published_figures_of(group)}

    assert found == {
        "fp32": 83.25,
        "8 bit, stochastic + EF": 84.2,
        "4 bit, stochastic + EF": 85.19,
        "2 bit, stochastic + EF": 84.3,
    }


def test_a_mean_is_preferred_to_a_best() -> None:
    """Of He et al.'s two figures the mean of five runs is shown, with its deviation."""
    panels = _panels([record(dataset="cifar10", model="resnet110", bits=32)], "accuracy", published=True)
    panel = panels["Published"]
    place = next(i for i, column in enumerate(panel.columns) if column.span == "Published: He et al.")

    assert panel.rows[0].entries[place].number == "93.4 ± 0.2"


def test_published_figures_are_never_measured_ones() -> None:
    """A figure is only under a heading that says Published, and the legend names its source."""
    records = [record(dataset="cifar10", model="alexnet-227", bits=b, accuracy=0.5) for b in (32, 2)]
    text = render(records, "text", TableOptions(show=("accuracy",), published=True))
    measured, published = text.split("Published: 2023 report", maxsplit=1)

    assert "84.3" not in measured
    assert "84.3" in published
    assert "Published, not measured here, 2023 report" in text
    assert "Published" not in render(records, "text")


def test_machine_formats_have_published_figures_when_asked() -> None:
    """JSON lists the figures with their sources, CSV has a column a source, and both only with the option."""
    records = [record(dataset="cifar10", model="alexnet-227", bits=b) for b in (32, 2)]
    options = TableOptions(published=True)
    rows = list(csv.DictReader(io.StringIO(render(records, "csv", options))))
    (table,) = json.loads(render(records, "json", options))["tables"]

    assert [row["published_2023_report_accuracy_percent"] for row in rows] == ["83.25", "84.3"]
    assert [figure["source"] for figure in table["published"]] == ["2023 report", "2023 report"]
    assert "published" not in render(records, "csv") + render(records, "json")


def test_a_model_without_published_figures() -> None:
    """Where nothing was published, the legend says so, and there is no empty panel."""
    records = [record(model="alexnet-quarter")]
    tables = lay_out(group_records(records), TableOptions(show=("accuracy",), published=True))

    assert [panel.title for panel in tables[0].panels] == ["Test accuracy (%)"]
    assert "No published figure is known for this model on these data." in tables[0].notes


def test_every_published_figure_of_a_model_in_the_lab_has_a_row() -> None:
    """With rows of all bits no figure is left out, but for a best where there is a mean."""
    for model in {figure.model for figure in PUBLISHED if figure.dataset == "cifar10"}:
        group = _group(32, 8, 4, 3, 2, model=model)
        shown = {(row["source"], row["accuracy_percent"]) for row in published_figures_of(group)}
        there = {(f.source.name, f.accuracy) for f in PUBLISHED if (f.dataset, f.model) == ("cifar10", model)}

        assert there - shown <= {("He et al.", 93.57)}


def test_json_has_every_seed_and_what_was_asked_for() -> None:
    """JSON has a run's own values, and the bytes and times where they are shown."""
    options = TableOptions(show=("traffic", "time"))
    (table,) = json.loads(render(_runs(), "json", options))["tables"]
    cell = table["methods"][1]["cells"][0]

    assert cell["sent_bytes_per_step"] == 187_500
    assert cell["measured_total_ms_per_step_mean"] == pytest.approx(12.5)
    (run,) = cell["runs"]
    assert (run["seed"], run["test_accuracy_percent"], run["epochs_to_target"]) == (0, 50.0, 3)
    assert run["bits_per_coordinate"]["gamma"] == 1.5
    assert run["timing"] == TIMING


def test_times_are_shown_only_when_asked_for() -> None:
    """Without time or network no byte of any format depends on how long the runs took."""
    slow, fast = _runs(timing=TIMING), _runs(timing={"total_s": 1.0, "compute_s": 0.5})
    options = TableOptions(show=("accuracy", "epochs", "bits", "codes", "traffic"))

    for format_name in ("latex", "text", "markdown", "csv", "json"):
        assert render(slow, format_name, options) == render(fast, format_name, options)


def test_unknown_shows_are_refused() -> None:
    """What cannot be shown is named, with what can."""
    with pytest.raises(ValueError, match=r"cannot show 'speed'; it can show accuracy, difference, epochs"):
        TableOptions(show=("speed",))
    with pytest.raises(ValueError, match="nothing to show"):
        TableOptions(show=())
