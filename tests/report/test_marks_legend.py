"""What a table's legend says of marks, differences, bits and modelled times, and the place of the marks."""

from __future__ import annotations

import dataclasses
import json
import re

import checkout
import pytest
from fake_runs import record
from marked_runs import EXAMPLE, LABELS, example, runs

from qsgd_lab.report import render
from qsgd_lab.report.analysis.communication import node_work
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.notes.significance import significance_notes
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore


def text_of(records: list[RunRecord], **options: object) -> str:
    """Return the text table on one line."""
    return " ".join(render(records, "text", TableOptions(**options)).split())  # type: ignore[arg-type]


def test_the_demo_takes_four_lines() -> None:
    """Nothing is marked in the stored demo; four lines say so, count what diverged, and say what it takes."""
    group = group_records(RunStore(checkout.ROOT / "paper" / "runs.jsonl").records())

    assert list(significance_notes(group, [""], "Bold")) == [
        "No mark: of 22 cells none is shown to differ from fp32 of its N (paired t tests, Holm's level 0.05) "
        "and none to be within 0.5 points of it (two one-sided tests, the same); 2 more have diverged runs.",
        "No bold: at no N is a method shown to be less than 0.5 points below every other.",
        "div.: all runs diverged, †: some did, and the mean is over all; in no test of accuracy: 2 bit, "
        "stochastic at N=1 (5/5, more often than fp32), N=2 (1/5, not shown to be more often). Counts of "
        "diverged runs: Fisher's exact test against fp32, Holm's level 0.05.",
        "With n = 5 the first arrow takes 3.1 standard deviations of the differences; their usual deviation "
        "here is 1.11 points, at which ≈ takes about 88 seeds.",
    ]


def test_what_is_marked_is_explained() -> None:
    """The legend has the signs that occur, the tests, the family's size and the level."""
    text = text_of(example("fp32", "A", "B"))

    assert (
        "↓: differs from fp32 of its N (paired t tests, Holm's level 0.05 over 2 cells). ≈: shown to be "
        "within 0.5 points of it (two one-sided tests, the same). No mark: neither is shown." in text
    )
    assert (
        "*: shown to be less than 0.5 points below every other method at its N (Holm's level 0.05 at each "
        "N), and not shown to be below any; cells with a diverged run do not compete." in text
    )
    assert "↑" not in text


def test_the_margin_is_the_presets() -> None:
    """Another margin of the preset changes the marks and is what the legend names."""
    text = text_of(example("fp32", "A", "B"), margins={"demo": 0.3})

    assert "within 0.3 points of it" in text
    assert "less than 0.3 points below" in text
    assert re.search(r"4 bit, stochastic \+ EF 90.4 ± 0.3↓", text)


def test_marks_of_every_format() -> None:
    """Bold and the marks are in LaTeX, Markdown and text alike, beside the same cells."""
    records = example("fp32", "A", "B")
    latex, markdown, text = (render(records, name) for name in ("latex", "markdown", "text"))

    assert r"8 bit, stochastic + EF & \bfseries 90.8 +- 0.3 {\rlap{$^\approx$}}" in latex
    assert r"4 bit, stochastic + EF & 90.4 +- 0.3 {\rlap{$^\downarrow$}}" in latex
    assert "| 8 bit, stochastic + EF | **90.8 ± 0.3**≈ |" in markdown
    assert "| 4 bit, stochastic + EF | 90.4 ± 0.3↓ |" in markdown
    assert re.search(r"8 bit, stochastic \+ EF +90.8 ± 0.3\*≈", text)
    assert re.search(r"4 bit, stochastic \+ EF +90.4 ± 0.3↓", text)


@pytest.mark.parametrize("by", ["nodes", "method", "model", "setting"])
def test_views_have_the_same_marks(by: str) -> None:
    """A cell has its marks whatever the view, and whatever else is shown."""
    records = [*example("fp32", "A", "B"), *example("fp32", "A", "B", nodes=2)]
    marked = [re.findall(r"90\.[84] ± 0\.3([*↓≈]*)", text_of(records, by=by, show=show)) for show in (
        ("accuracy",), ("accuracy", "epochs", "difference", "bits"),
    )]  # fmt: skip

    assert sorted(marked[0]) == sorted(marked[1]) == sorted(["*", "*≈", "↓"] * 2)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_few_seeds_are_said_and_nothing_is_marked(count: int) -> None:
    """Below five seeds one line says that nothing is tested or marked, and no difference is shown unasked."""
    records = [*runs("fp32", [99.0] * count), *runs("A", [50.0] * count)]
    text = text_of(records)

    assert "Fewer than 5 seeds: nothing is tested or marked." in text
    assert not re.search(r"[↓↑≈*]", text)
    assert "Difference" not in text
    assert "8 bit, stochastic + EF -49.00" in text_of(records, show=("accuracy", "difference"))


def test_an_n_without_bold_is_named() -> None:
    """Where some N have bold and one has not, the legend names it and the most uncertain method."""
    text = text_of([*example("fp32", "A", "B"), *example("fp32", "A", "B", "C", nodes=2)])

    assert f"None at N=2 (most uncertain: {LABELS['C']})." in text


def test_short_cells_are_named() -> None:
    """Cells with too few common seeds, and an N that is not judged for them, are named."""
    moved = [record(dataset="cifar10", bits=4, seed=seed, accuracy=0.91) for seed in range(1, 6)]
    text = text_of([*example("fp32", "A"), *moved])

    assert f"Fewer than 5 seeds in common with fp32, so not tested: {LABELS['B']} at N=1." in text
    assert "No *. Not judged at N=1: some two methods have fewer than 5 seeds in common." in text
    beside = text_of([*example("fp32", "A"), *moved, *example("fp32", "A", nodes=2)])
    assert "do not compete. Not judged at N=1: some two methods have" in beside


def test_no_variance_is_said() -> None:
    """Where the step is unknown, a method equal to fp32 in every seed is not tested, and is named."""
    same = [90.0, 91.0, 92.0, 93.0, 94.0]
    text = text_of([*runs("fp32", same, dataset="else"), *runs("A", same, dataset="else")])

    assert f"The same difference from fp32 in every seed, so not tested: {LABELS['A']} at N=1." in text


def test_diverged_runs_of_fp32_are_said() -> None:
    """Where runs of fp32 diverged, the legend counts them and says that nothing is compared with it there."""
    text = text_of([*runs("fp32", [None] * 5), *example("A")])

    assert "fp32 at N=1 (5/5)" in text
    assert "Runs of fp32 diverged at N=1, so no accuracy is compared with it there." in text
    assert f"Shown to diverge less often than fp32: {LABELS['A']} at N=1." in text


def test_everything_diverged_is_said() -> None:
    """Where all runs diverged there is one line of counts, and no test of accuracy is mentioned."""
    text = text_of([*runs("fp32", [None] * 5), *runs("A", [None] * 5)])

    assert f"in no test of accuracy: fp32 at N=1 (5/5); {LABELS['A']} at N=1 (5/5)." in text
    assert "paired t tests" not in text
    assert not re.search(r"[↓↑≈*]", text)


def test_differences_have_intervals_and_no_fp32() -> None:
    """The panel has a row for each method but fp32, and the mean over N with marks of its own."""
    records = [*example("fp32", "A", "B"), *example("fp32", "A", "B", nodes=2)]
    markdown = render(records, "markdown", TableOptions(show=("difference",)))
    rows = [line for line in markdown.splitlines() if line.startswith("|")]

    assert rows == [
        "| Method | N=1 | N=2 | mean over N |",
        "| --- | ---: | ---: | ---: |",
        "| 8 bit, stochastic + EF | 0.00 ± 0.19 | 0.00 ± 0.19 | 0.00 ± 0.16≈ |",
        "| 4 bit, stochastic + EF | -0.34 ± 0.11 | -0.34 ± 0.11 | -0.34 ± 0.09↓ |",
    ]
    assert "hold together over 4 cells; mean over N: of each seed's mean, over 2 methods" in markdown
    assert "with marks of its own (↓ differs, ≈ within 0.5 points)" in markdown


def test_differences_turned_round() -> None:
    """With methods as columns fp32 has none, and the mean over N is a panel of methods."""
    records = [*example("fp32", "A"), *example("fp32", "A", nodes=2)]
    markdown = render(records, "markdown", TableOptions(show=("difference",), by="method"))
    rows = [line for line in markdown.splitlines() if line.startswith("|")]

    assert rows == [
        "| N | 8 bit, stochastic + EF |",
        "| --- | ---: |",
        "| 1 | 0.00 ± 0.16 |",
        "| 2 | 0.00 ± 0.16 |",
        "| Method | mean over N |",
        "| --- | ---: |",
        "| 8 bit, stochastic + EF | 0.00 ± 0.12≈ |",
    ]


def test_json_has_the_mean_over_n() -> None:
    """JSON has the test of the mean over N with each method, and the margin with each table."""
    records = [*example("fp32", "A"), *example("fp32", "A", nodes=2)]
    (table,) = json.loads(render(records, "json"))["tables"]
    fp32, method = table["methods"]

    assert table["margin_points"] == 0.5
    assert fp32["mean_over_nodes_claim"] is None
    assert method["mean_over_nodes_claim"] == "equivalent"
    assert method["mean_over_nodes_points_above_fp32"] == 0.0
    assert method["mean_over_nodes_interval_low"] == -method["mean_over_nodes_interval_high"]


def test_bits_without_diverged_runs_are_said() -> None:
    """Where diverged runs are left out of a method's bits, the legend names the method and their number."""
    some = [*example("fp32"), *runs("A", (None, *EXAMPLE["A"][1:]))]

    assert f"Diverged runs are left out of the bits: {LABELS['A']} (1 of 5)." in text_of(some)
    assert "left out" not in text_of([*example("fp32"), *runs("A", [None] * 5)])


TIMING = {"total_s": 4.0, "compute_s": 3.0, "quantize_s": 0.6}
CODED = {"encode_message_s": 0.001, "decode_message_s": 0.002}


@pytest.mark.parametrize("is_coded", [True, False])
def test_the_modelled_step_is_what_the_legend_says(is_coded: bool) -> None:
    """Where messages were timed quantizing is divided by N and coding counted, else neither; it is said."""
    timing = TIMING | (CODED if is_coded else {})
    records = [
        dataclasses.replace(run, timing=timing)
        for run in (record(nodes=4, seed=0), record(nodes=4, seed=0, bits=32))
    ]
    work = node_work(records[:1])
    assert work is not None
    steps = records[0].result["steps"]
    text = text_of(records, show=("network",))

    if is_coded:
        assert work.quantize == pytest.approx(0.6 / steps / 4)
        assert work.code == pytest.approx(0.001 + 3 * 0.002)
        assert (
            "quantizing as measured, divided by N; writing one message and reading N−1, as measured;" in text
        )
    else:
        assert (work.quantize, work.code) == (pytest.approx(0.6 / steps), 0)
        assert "quantizing as measured for all N nodes, and nothing for coding;" in text
    assert "where messages were not timed" not in text


def test_some_messages_timed() -> None:
    """Where only some cells have timed their messages, the legend says both, and which is which."""
    timed = dataclasses.replace(record(nodes=4), timing=TIMING | CODED)
    untimed = dataclasses.replace(record(nodes=4, bits=8), timing=TIMING)

    assert "; where messages were not timed, quantizing as measured for all N nodes" in text_of(
        [timed, untimed], show=("network",)
    )


def test_what_is_sent_is_said() -> None:
    """Sent are whole messages where these were measured, and else the code with the fewest bits."""
    whole = record(nodes=2, bits_per_coordinate={"fixed": 3.0, "auto": 0.9, "message": 1.0})
    code = record(nodes=2, bits=8, bits_per_coordinate={"fixed": 9.0, "gamma": 3.0})
    messages = "in whole messages, each in the layout and code that make it shortest"

    assert f"Sent: a node's own gradient {messages}. Moved" in text_of([whole], show=("traffic",))
    assert "Sent: a node's own gradient under the code that takes the fewest bits in all. Moved" in text_of(
        [code], show=("traffic",)
    )
    both = text_of([whole, code], show=("traffic",))
    assert f"{messages} or under the code that takes the fewest bits in all where messages were not" in both
