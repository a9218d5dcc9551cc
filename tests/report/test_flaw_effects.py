"""The flaws' table: paired differences, their intervals, and the same numbers in every format."""

from __future__ import annotations

import json
import re
import statistics

import fake_runs
import pytest
from scipy import stats

from qsgd_lab.report.flaws.effects import ALL, CORRECTED, Cell, effects
from qsgd_lab.report.flaws.table import FLAW_FORMATS, write_effects

SEEDS = range(5)
HONEST = [97.5, 98.0, 98.25, 97.0, 98.75]
SHIFTED = [95.0, 96.5, 95.25, 93.0, 97.75]


def cell(protocol: str, accuracies: list[float], *, applies: bool = True, diverged: int = 0) -> Cell:
    records = {
        seed: fake_runs.record(
            seed=seed, accuracy=value / 100, status="diverged" if seed < diverged else "done"
        )
        for seed, value in zip(SEEDS, accuracies, strict=False)
    }
    return Cell(model="alexnet", method="2 bit", protocol=protocol, records=records, applies=applies)


TABLE = [cell(CORRECTED, HONEST), cell("a flaw", SHIFTED), cell("none", HONEST), cell(ALL, SHIFTED)]


def test_differences_are_paired_by_seed() -> None:
    """Mean, interval and p-value are those of scipy's paired t-test, p adjusted for the table's two tests."""
    _, flawed, _, everything = effects(TABLE)
    expected = stats.ttest_rel(SHIFTED, HONEST)
    low, high = expected.confidence_interval(0.95)
    found = flawed.to_dict()
    assert found["difference"] == pytest.approx(statistics.fmean(SHIFTED) - statistics.fmean(HONEST))
    assert found["interval_95"] == pytest.approx([low, high])
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["p_holm"] == pytest.approx(min(1, 2 * expected.pvalue))
    assert (flawed.mean, flawed.deviation) == pytest.approx(
        (statistics.fmean(SHIFTED), statistics.stdev(SHIFTED))
    )
    assert everything.p_holm == found["p_holm"]


def test_a_diverged_run_stands_in_no_test() -> None:
    """Its accuracy counts and it is marked, but it has no interval, no p-value and no place in the family."""
    rows = [*TABLE[:3], cell(ALL, SHIFTED, diverged=1)]
    _, flawed, _, everything = effects(rows)
    assert everything.num_diverged == 1
    assert everything.mean == flawed.mean
    assert everything.to_dict()["test"] == "diverged"
    assert (everything.half_width, everything.p_holm) == (None, None)
    assert flawed.p_holm == pytest.approx(stats.ttest_rel(SHIFTED, HONEST).pvalue)
    assert "95.5 ± 1.8†  −2.4" in write_effects(effects(rows), "text", "A title.")


def test_what_changes_nothing_is_called_identical() -> None:
    """Equal accuracies in every seed are an identity, no test; the corrected protocol has no difference."""
    corrected, _, same, _ = effects(TABLE)
    assert same.is_identical
    assert same.p_holm is None
    assert corrected.comparison is None
    assert not corrected.is_identical


@pytest.mark.parametrize("name", list(FLAW_FORMATS))
def test_formats_show_the_same_numbers(name: str) -> None:
    """97.9 ± 0.7 and the difference −2.4 with its interval are in every format."""
    rows = [*TABLE, cell("quantizer only", HONEST, applies=False)]
    text = write_effects(effects(rows), name, "A title.")
    if name == "json":
        found = json.loads(text)["effects"]
        assert [round(effect["accuracy"], 1) for effect in found] == [97.9, 95.5, 97.9, 95.5, 97.9]
        assert [effect["applies"] for effect in found] == [True] * 4 + [False]
        return
    plain = text.replace("$-$", "−").replace(r"$\pm$", "±").replace("$^\\dagger$", "†").replace("\\*", "*")
    assert len(re.findall(r"97\.9 ± 0\.7[ |&]+=", plain)) == 1
    assert len(re.findall(r"95\.5 ± 1\.8[ |&]+−2\.4 \[−3\.9, −0\.9\]\*", plain)) == 2
    assert "void" in plain


def test_latex_is_balanced() -> None:
    """As many ampersands in every row as the header has, and every environment closed."""
    text = write_effects(effects(TABLE), "latex", "50 % & more_of it")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}
    begun, ended = (re.findall(rf"\\{word}{{(\S+?)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert r"50 \% \& more\_of it" in text


def test_epochs_to_the_target_count_who_got_there() -> None:
    """The mean is that of the runs that reached the target, with their number where some did not."""
    late = [fake_runs.record(seed=seed, epochs_to_target=epochs) for seed, epochs in enumerate((4, None, 7))]
    cells = [
        Cell(model="m", method="2 bit", protocol=CORRECTED, records={r.config.seed: r for r in late}),
        Cell(model="m", method="2 bit", protocol="a flaw", records={1: late[1]}),
    ]
    assert effects(cells)[0].epochs_to_target == [4, 7]
    text = write_effects(effects(cells), "text", "A title.")
    assert "5.5 (2/3)" in text
    assert "none (0/1)" in text


def test_few_seeds_claim_nothing() -> None:
    """With two seeds there is a difference, and neither an interval nor a test."""
    two = [cell(CORRECTED, HONEST[:2]), cell("a flaw", SHIFTED[:2])]
    _, flawed = effects(two)
    assert flawed.half_width is None
    assert flawed.p_holm is None
    assert flawed.to_dict()["difference"] == pytest.approx(-2.0)


def test_without_the_mended_protocol_there_is_no_effect() -> None:
    """A flaw is measured against something."""
    with pytest.raises(ValueError, match="no runs of the corrected"):
        effects([cell("a flaw", SHIFTED)])
