"""The five formats: golden files, and the same numbers in all of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import random
import re
from collections import Counter

import checkout
import pytest
from fake_runs import demo_records, record, sweeps
from hypothesis import given, settings
from naive_report import latex_cells, markdown_cells, without_markup

import qsgd_lab
from qsgd_lab.report import FORMATS, render
from qsgd_lab.report.tables.options import Style, TableOptions
from qsgd_lab.runs import config as run_config
from qsgd_lab.runs.record import RunRecord

GOLDEN = checkout.ROOT / "tests" / "golden"


@pytest.fixture
def golden_records(monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    """Three tables' records: five seeds of all kinds of cells, two of a wider table, one of fp32."""
    monkeypatch.setattr(qsgd_lab, "__version__", "0.0.0")
    monkeypatch.setattr(run_config, "COMPONENT_VERSIONS", {"golden": 0})
    wide = {
        "preset": "wide_100%",
        "dataset": "cifar10",
        "model": "resnet50",
        "bucket_size": 512,
        "norm": "l2",
    }
    return [
        *demo_records(seeds=(0, 1, 2, 3, 4)),
        *(record(**wide, nodes=nodes, seed=seed) for nodes in (1, 2, 4, 8, 16, 32, 64) for seed in (3, 7)),
        record(bits=32, preset="single", accuracy=0.5),
    ]


@pytest.mark.parametrize(("format_name", "suffix"), [("latex", "tex"), ("text", "txt"), ("markdown", "md")])
def test_golden(golden_records: list[RunRecord], format_name: str, suffix: str) -> None:
    """The output for fixed records is the committed one (UPDATE_GOLDEN=1 writes it again, to be read)."""
    path = GOLDEN / f"table.{suffix}"
    written = render(golden_records, format_name)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(written, encoding="utf-8")

    assert path.read_text(encoding="utf-8") == written


def _two_settings() -> list[RunRecord]:
    """Return five seeds of two norms of ResNet-110: 3 bits as good as fp32, 2 bits two points worse."""
    return [
        record(
            preset="report",
            dataset="cifar10",
            model="resnet110",
            norm=norm,
            bits=bits,
            rounding=rounding,
            nodes=nodes,
            seed=seed,
            accuracy=accuracy + 0.001 * seed + 0.0001 * ((3 * seed + bits * seed * seed + nodes) % 7),
            num_parameters=1_730_714,
        )
        for norm in ("max", "l2")
        for bits, rounding, accuracy in ((32, None, 0.93), (3, "stochastic", 0.93), (2, "nearest", 0.91))
        for nodes in (1, 2)
        for seed in range(5)
        if (bits, norm) != (32, "l2")  # fp32 has no norm: one baseline for both
    ]


@pytest.mark.parametrize(
    ("format_name", "style", "name"),
    [
        ("text", "siunitx", "settings.txt"),
        ("latex", "siunitx", "settings.tex"),
        ("latex", "plain", "settings-plain.tex"),
    ],
)
def test_golden_side_by_side(
    monkeypatch: pytest.MonkeyPatch, format_name: str, style: Style, name: str
) -> None:
    """Theory beside practice, marked, with traffic and published figures, is the committed table."""
    monkeypatch.setattr(qsgd_lab, "__version__", "0.0.0")
    monkeypatch.setattr(run_config, "COMPONENT_VERSIONS", {"golden": 0})
    show = ("accuracy", "difference", "bits", "traffic")
    options = TableOptions(show=show, by="setting", style=style, published=True)
    written = render(_two_settings(), format_name, options)
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(written, encoding="utf-8")

    assert (GOLDEN / name).read_text(encoding="utf-8") == written


@pytest.mark.parametrize("format_name", FORMATS)
def test_order_of_records_cannot_show(format_name: str) -> None:
    """The bytes depend on the set of records alone."""
    records = demo_records()
    shuffled = random.Random(5).sample(records, len(records))

    assert render(shuffled, format_name) == render(records, format_name)


@settings(max_examples=40)  # of every format each
@given(sweeps())
def test_every_format_can_show_anything(records: list[RunRecord]) -> None:
    """Any records give text in every format, ending in one newline, without a stray number."""
    for format_name in FORMATS:
        written = render(records, format_name)

        assert written.endswith("\n")
        assert not written.endswith("\n\n")


def _printed_by_json(records: list[RunRecord], options: TableOptions) -> Counter[str]:
    """Return every number that JSON says the other formats print, with its deviation."""
    document = json.loads(render(records, "json", options))
    asked = _asked_fields(options)
    parts = [part for table in document["tables"] for part in table["methods"]]
    cells = [cell for part in parts for cell in part["cells"]]
    printed = [value for part in (*parts, *cells) for name, value in part.items() if name in asked]
    return Counter(value for value in printed if re.match(NUMBER, value))


def _asked_fields(options: TableOptions) -> set[str]:
    names = {
        "accuracy": {"printed_test_accuracy_percent"},
        "epochs": {"printed_epochs_to_target"},
        "difference": {"printed_difference", "mean_over_nodes_printed_difference"},
        "bits": {"printed_fixed_bits", "printed_elias_bits", "printed_ratio"},
        "codes": {f"printed_{code}_bits_per_coordinate" for code in ("gamma", "delta", "omega")},
        "traffic": {f"printed_{n}" for n in ("sent_bytes_per_step", "moved_bytes_per_step", "sent_bytes")},
        "time": {f"printed_measured_{part}_ms_per_step" for part in ("total", "compute", "quantize")},
        "network": {"printed_modelled_ms_per_step", "printed_modelled_speed_up", "printed_pays"},
    }
    return {name for show in options.show for name in names[show]}


NUMBER = r"[+-]?\d"

_TIMING = {"total_s": 4.0, "compute_s": 3.0, "quantize_s": 0.5}


@pytest.mark.parametrize(
    "show",
    [("accuracy", "epochs"), ("difference",), ("bits",), ("traffic",), ("time",), ("network",)],
)
@pytest.mark.parametrize(
    ("format_name", "style"), [("latex", "siunitx"), ("latex", "plain"), ("markdown", "siunitx")]
)
def test_all_formats_print_the_same_numbers(format_name: str, style: str, show: tuple[str, ...]) -> None:
    """The numbers of LaTeX in both styles and of Markdown are, string for string, those of JSON."""
    records = [dataclasses.replace(run, timing=_TIMING) for run in demo_records(seeds=(0, 1, 2, 3, 4))]
    options = TableOptions(show=show, style=style)  # type: ignore[arg-type]
    cells_of = latex_cells if format_name == "latex" else markdown_cells
    cells = map(without_markup, cells_of(render(records, format_name, options)))
    levels = {"s": 0, "255": 1, "15": 1, "3": 4} if "bits" in show else {}

    found = Counter(cell for cell in cells if re.match(NUMBER, cell))
    assert found.total() >= 6
    assert found - Counter(levels) == _printed_by_json(records, options)


def test_csv_and_text_print_the_same_numbers() -> None:
    """Accuracies are the same strings, in the same order, in JSON, CSV and text."""
    records = demo_records()
    document = json.loads(render(records, "json"))
    cells = [cell for method in document["tables"][0]["methods"] for cell in method["cells"]]
    printed = [cell["printed_test_accuracy_percent"] for cell in cells]
    rows = list(csv.DictReader(io.StringIO(render(records, "csv"))))
    first_panel = re.split("Epochs to", render(records, "text"))[0]
    found = re.findall(r"(\d+\.\d) +± +(\d+\.\d)", first_panel)

    assert [row["printed_test_accuracy_percent"] for row in rows] == printed
    assert [f"{mean} ± {deviation}" for mean, deviation in found] == [text for text in printed if "±" in text]


def test_csv_has_every_seed() -> None:
    """A line of CSV has a value a seed in the order of the seeds, -- for a target that was not reached."""
    runs = [
        record(seed=4, accuracy=0.25, epochs_to_target=None),
        record(seed=1, accuracy=0.5, status="diverged"),
    ]
    (row,) = csv.DictReader(io.StringIO(render(runs, "csv")))

    assert row["seeds"] == "1 4"
    assert row["test_accuracy_percent_by_seed"] == "50.0 25.0"
    assert row["epochs_to_target_by_seed"] == "3 --"
    assert row["status_by_seed"] == "diverged done"


def test_machine_formats_say_what_was_tested() -> None:
    """CSV and JSON have the test, its interval and p-values, the claims, and the counts of seeds."""
    baseline = [record(bits=32, seed=seed, accuracy=0.9 + seed / 100) for seed in range(5)]
    method = [record(seed=seed, accuracy=0.8 + (seed + seed % 2 / 10) / 100) for seed in range(5)]
    rows = list(csv.DictReader(io.StringIO(render([*baseline, *method], "csv"))))

    assert [row["test_against_fp32"] for row in rows] == ["baseline", "paired"]
    assert float(rows[1]["points_above_fp32"]) == pytest.approx(-9.96)
    assert rows[1]["printed_difference"] == "-9.96 ± 0.14"
    assert float(rows[1]["interval_high"]) == pytest.approx(-9.96 + 0.140808, abs=1e-6)
    assert [rows[1][name] for name in ("num_pairs", "seeds_below", "seeds_above")] == ["5", "5", "0"]
    assert rows[1]["p_different"] == rows[1]["p_different_holm"]
    assert [rows[i]["is_bold"] for i in (0, 1)] == ["True", "False"]
    assert (rows[1]["claim"], rows[1]["blocked_by"], rows[1]["p_divergence"]) == ("worse", "fp32", "")
    assert rows[1]["mean_over_nodes_printed_difference"] == "--"


def test_json_has_unrounded_values_and_keys() -> None:
    """JSON gives the mean and deviation unrounded, null where there is none, and the runs they come from."""
    runs = [record(seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.5, 0.50123))]
    (table,) = json.loads(render(runs, "json"))["tables"]
    (cell,) = table["methods"][0]["cells"]

    assert cell["test_accuracy_percent_mean"] == pytest.approx(50.0615, abs=1e-12)
    assert cell["test_accuracy_percent_std"] == pytest.approx(0.123 / 2**0.5, abs=1e-12)
    assert cell["printed_test_accuracy_percent"] == "50.1 ± 0.1"
    assert cell["run_keys"] == sorted(run.key for run in runs)
    assert table["config"]["learning_rate"] == 0.03


def test_json_states() -> None:
    """A cell says whether it is missing, done, partly diverged or diverged."""
    document = json.loads(render(demo_records(), "json"))
    states = {
        (method["method"], cell["nodes"]): cell["state"]
        for method in document["tables"][0]["methods"]
        for cell in method["cells"]
    }

    assert states["8 bit, stochastic + EF", 8] == "missing"
    assert states["2 bit, stochastic", 1] == "diverged"
    assert states["2 bit, stochastic", 2] == "some diverged"
    assert states["fp32", 1] == "done"


def test_csv_has_a_line_a_cell() -> None:
    """CSV has one line for each method, number of nodes and table, whatever is missing."""
    records = [record(nodes=1), record(nodes=2, bits=8), record(preset="other, with a comma")]
    rows = list(csv.DictReader(io.StringIO(render(records, "csv"))))

    assert len(rows) == 2 * 2 + 1
    assert rows[-1]["preset"] == "other, with a comma"


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("num_nodes", [1, 4, 9])
def test_text_fits_a_terminal(num_nodes: int, width: int) -> None:
    """The text format keeps within the terminal's columns, however many numbers of nodes there are."""
    runs = [
        record(bits=bits, nodes=nodes, seed=seed, accuracy=seed / 3, epochs_to_target=seed or None)
        for bits in (2, 8, 32)
        for nodes in range(1, num_nodes + 1)
        for seed in range(3)
    ]

    lines = render(runs, "text", TableOptions(width=width)).splitlines()
    assert max(map(len, lines)) <= width
    headings = " ".join(line for line in lines if line.startswith("Method")).split()
    assert all(headings.count(f"N={nodes}") == 2 for nodes in range(1, num_nodes + 1))


def test_wider_terminals_are_used() -> None:
    """At 140 columns accuracy and epochs of four numbers of nodes are beside each other, at 80 not."""
    runs = [record(nodes=nodes, seed=seed) for nodes in (1, 2, 4, 8) for seed in range(3)]
    wide, usual = (render(runs, "text", TableOptions(width=width)) for width in (140, 80))
    assert len(wide.splitlines()) < len(usual.splitlines())
    assert 100 < max(map(len, wide.splitlines())) <= 140


@pytest.mark.parametrize(("num_nodes", "num_tabulars"), [(3, 1), (4, 2), (7, 4)])
def test_latex_uses_the_room_it_has(num_nodes: int, num_tabulars: int) -> None:
    """Epochs are beside the accuracy while they fit, then below it, then both go on in new panels."""
    source = render([record(nodes=nodes) for nodes in range(1, num_nodes + 1)], "latex")

    assert source.count(r"\begin{tabular*}") == num_tabulars


def test_markdown_rows_have_equal_cells() -> None:
    """Every line of a pipe table has as many cells as its head, pipes in names escaped."""
    runs = [record(rounding="a|b"), record(rounding="nearest", nodes=2)]
    tables = re.findall(r"(?:^\|.*\n)+", render(runs, "markdown"), flags=re.MULTILINE)

    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_captions_are_honest_about_seeds() -> None:
    """One seed: no deviation, and the caption says so; two: it says that they are few."""
    one, two, three = (
        " ".join(render([record(seed=seed) for seed in range(n)], "text").split()) for n in (1, 2, 3)
    )

    assert "one seed, hence no deviation" in one
    assert "±" not in one
    assert "too few for a firm deviation" in " ".join(two.split())
    assert "mean ± std over n = 3 seeds" in " ".join(three.split())


def test_digits_are_not_passed_off_as_cifar10() -> None:
    """The caption of the embedded data set names what it is."""
    assert "scikit-learn's handwritten digits" in render([record()], "text")


@pytest.mark.parametrize(
    ("records", "format_name", "message"),
    [([], "text", "no run records"), ([record()], "word", "there are latex, text, markdown, csv, json")],
)
def test_refusals(records: list[RunRecord], format_name: str, message: str) -> None:
    """No records and unknown formats are refused by name."""
    with pytest.raises(ValueError, match=message):
        render(records, format_name)
