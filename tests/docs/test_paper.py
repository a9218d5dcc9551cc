"""The paper shows what the runs say, and nothing that was typed by hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import checkout
import fake_runs
import naive
import naive_codes
import numpy as np
import pytest
from click.testing import CliRunner

PAPER = checkout.ROOT / "paper"
sys.path.insert(0, str(PAPER / "scripts"))

import check_numbers  # noqa: E402
import claims  # noqa: E402
import evidence  # noqa: E402
import evidence_claims  # noqa: E402
import flaws_table  # noqa: E402
import local_sgd  # noqa: E402
import make_paper  # noqa: E402
import paper_runs  # noqa: E402
import quoted_numbers  # noqa: E402
import step_times  # noqa: E402
import worked_example  # noqa: E402

from qsgd_lab.algorithms.registry import ALGORITHMS  # noqa: E402
from qsgd_lab.compressors import COMPRESSORS  # noqa: E402
from qsgd_lab.problems.registry import problem_entry  # noqa: E402
from qsgd_lab.problems.simulate import simulate  # noqa: E402
from qsgd_lab.report.analysis.grouping import group_records  # noqa: E402

SOURCE = (PAPER / "paper.tex").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def committed():
    """Return the committed runs."""
    return paper_runs.load_runs(PAPER / "runs.jsonl")


def runs_of(records, store=PAPER / "runs.jsonl"):
    """Return invented records as the paper takes them."""
    return paper_runs.PaperRuns(store, tuple(records), paper_runs.main_group(group_records(records)))


def document(body):
    """Return a paper with this text."""
    return f"\\documentclass{{article}} % 12\n\\begin{{document}}\n{body}\n\\bibliographystyle{{x}} 34"


def test_what_is_generated_is_current():
    """The committed LaTeX is what the committed runs say, and they bear out every claim of the text."""
    result = CliRunner().invoke(make_paper.main, ["--check"])

    assert result.output == ""
    assert result.exit_code == 0


def test_local_sgd_data_are_what_a_simulation_gives():
    """One schedule at N = 4 measured again has the committed means at all checkpoints, to the last digits."""
    errors = [
        simulate(
            problem_entry("kinked").make(4, "iid", 0),
            ALGORITHMS.parse(local_sgd.methods(4)[local_sgd.GROWING]),
            COMPRESSORS.parse("fp32"),
            nodes=4,
            num_steps=local_sgd.STEPS["kinked"],
            repeats=range(first, first + 100),
        ).errors
        for first in range(0, local_sgd.REPEATS["kinked"], 100)
    ]
    row = local_sgd.measured()[local_sgd.KINKED, 4, local_sgd.GROWING]
    assert row["mean"] == pytest.approx(np.concatenate(errors, axis=1).mean(axis=1), rel=1e-9)


def test_figures_are_the_same_bytes_twice(committed):
    """Drawing the figures of the same runs again gives the same files."""
    import paper_figures

    first = paper_figures.figure_files(committed)

    assert first.pop("frontier.pdf") is None or evidence.frontier_figure()
    assert all(content is not None and content.startswith(b"%PDF") for content in first.values())
    second = paper_figures.figure_files(committed)
    assert {name: second[name] for name in first} == first


def test_the_example_is_what_the_definitions_give():
    """Levels, values and code words of the worked example are those of the slow oracles."""
    example = worked_example.worked_example()
    values = [float(v) for v in worked_example.VECTOR]
    stream = (worked_example.SEED, 0, 0, 0)
    levels, norms = naive.quantize(
        values, 3, sizes=[len(values)], bucket_size=512, norm="l2", rounding="stochastic", stream=stream
    )
    spelled = [
        naive_codes.omega(abs(level) + 1) + ("1" if level < 0 else "0" if level else "") for level in levels
    ]

    assert example.levels.tolist() == levels
    assert example.norm == norms[0]
    assert list(example.codewords) == spelled
    assert example.values.tolist() == pytest.approx([norms[0] * level / 3 for level in levels])
    assert example.bits["dense"] == len("".join(spelled))
    assert example.bits["fixed"] == 3 * len(levels)


def test_the_example_is_printed_as_it_is():
    """Each row of the table shows its coordinate's level and code word."""
    example = worked_example.worked_example()
    rows = re.findall(r"^(\d) & .*\\ttfamily ([01]+)\} & (-?\d+) \\\\$", worked_example.example_table(), re.M)

    assert [row[1] for row in rows] == list(example.codewords)
    assert [int(row[2]) for row in rows] == example.nearest.tolist()


def test_the_paper_has_no_number_typed_by_hand():
    """The checker finds nothing in the paper as it is."""
    assert check_numbers.hand_typed_numbers(SOURCE) == []


@pytest.mark.parametrize(
    "typed",
    [
        r"reaches 98.1\,\% on the test set",
        r"reaches $98.1$ percent",
        r"reaches $98$\,\% of it",
        r"an accuracy of $a = 98$ in all cells",
        r"$98.1 \pm 0.3$",
        r"it is $\approx 16$ times smaller",
        "sixteen times fewer bits",
        "loses two points",
        "twice as fast",
        "a quarter of the bits",
        "in 12 of the cells",
        "a tenfold gain",
        r"\emph{84 runs}",
        r"a table of 1,000 rows~\cite{he2016}",
        r"\begin{equation} \beta = 4.06 \end{equation}",
    ],
)
def test_a_planted_number_is_found(typed):
    """A result typed into the text, in figures or words or mathematics, is found in its place."""
    found = check_numbers.hand_typed_numbers(document(f"First line.\nHere: {typed}.\nLast line."))

    assert [line for line, _ in found][:1] == [4]


@pytest.mark.parametrize(
    "harmless",
    [
        r"as in~\cite{alistarh2017}, Section~\ref{sec:4} and \eqref{eq:2}",
        r"\lab{accuracy, 2 bit, stochastic, N=1}\,\%",
        r"\claim{noise at 2 bits}{It fails}",
        r"on CIFAR-10 a ResNet-110 in float32 and a ResNet-50",
        r"$n/(4 s^2)$ and $2 (N - 1)/N$ and $\beta < 64/N$ at $N = 8$, $s = \sqrt n$",
        r"$\frac{1}{2}\bigl(\sqrt{1 + (n - 1)/s^2} - 1\bigr)$",
        r"a coordinate takes $b + 1$ bits",
        r"two-bit levels on one node",
        "% 98.1 in a comment",
        r"\input{generated/table2}",
    ],
)
def test_constants_and_names_are_no_results(harmless):
    """Citations, keys, names and the constants of formulas may have figures in them."""
    assert check_numbers.hand_typed_numbers(document(harmless)) == []


def test_the_checker_is_a_command(tmp_path):
    """Run on a file with a number it names file, line and number, and exits with 1."""
    path = tmp_path / "draft.tex"
    path.write_text(document("We reach 97.5."))
    result = subprocess.run(
        [sys.executable, PAPER / "scripts" / "check_numbers.py", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (1, "draft.tex:3: 97.5.\n")


def test_every_quoted_number_is_defined(committed):
    """What the text quotes the generator defines, and the committed runs have the answer."""
    quoted = set(re.findall(r"\\lab\{([^}]*)\}", re.sub(r"(?<!\\)%.*", "", SOURCE)))
    numbers = quoted_numbers.quoted_numbers(committed)

    assert len(quoted) > 40
    assert quoted <= set(numbers)
    missing = {key for key in quoted if numbers[key] == quoted_numbers.MISSING}
    # The sentence on flaws, and those on other tasks, are printed only where their runs are.
    silent = tuple(f"{task}: " for task in evidence_claims.TASKS if task not in evidence_claims.shown_tasks())
    missing = {key for key in missing if not key.startswith(silent or "-")}
    assert {key for key in missing if not key.startswith("flaws, ")} == set()
    assert bool(missing) == (flaws_table.flaws_table(committed) is None)


def test_a_contradicted_claim_is_marked():
    """Runs that fail where the text says they do not turn the sentence's mark from holds to fails."""
    records = [
        fake_runs.record(
            bits=bits, rounding=rounding, error_feedback=feedback, seed=seed, nodes=n, accuracy=accuracy
        )
        for bits, rounding, feedback, accuracy in (
            (32, None, False, 0.98),
            (2, "stochastic", True, 0.60),
            (2, "nearest", False, 0.99),
        )
        for n in (1, 2)
        for seed in range(5)
    ]
    found = claims.verdicts(runs_of(records))

    assert found["feedback keeps up"] == claims.Verdict(False, "2 bit, stochastic + EF loses at N = 1")
    assert found["nearest loses"].holds is False
    assert found["noise fails alone"].holds is None
    assert make_paper._claim_line("nearest loses", found["nearest loses"]).startswith(
        r"\claimfails{nearest loses}{"
    )


def test_what_few_seeds_show_is_no_claim():
    """With three seeds, whatever their means, the sentences that take a test are marked as not tested."""
    records = [
        fake_runs.record(
            bits=bits, rounding=rounding, error_feedback=feedback, seed=seed, nodes=n, accuracy=0.9
        )
        for bits, rounding, feedback in (
            (32, None, False),
            (2, "stochastic", True),
            (2, "stochastic", False),
            (2, "nearest", False),
            (2, "nearest", True),
        )
        for seed in range(3)
        for n in (1, 8)
    ]
    found = claims.verdicts(runs_of(records))

    for name in ("feedback keeps up", "nearest loses", "feedback mends nearest", "noise fails alone"):
        assert found[name].holds is None


@pytest.mark.parametrize(
    "records",
    [
        [fake_runs.record(bits=32)],
        [fake_runs.record(bits=2)],
        [fake_runs.record(bits=bits, nodes=4, seed=seed) for bits in (32, 2) for seed in (0, 1)],
        [fake_runs.record(bits=bits, status="diverged", accuracy=0.1) for bits in (32, 4)],
        [fake_runs.record(bits=bits, preset=preset) for bits in (32, 4) for preset in ("demo", "other")],
    ],
    ids=["only fp32", "no fp32", "two seeds", "diverged", "two presets"],
)
def test_any_store_gives_numbers_claims_and_tables(records):
    """With cells missing, one seed or diverged runs every key has an answer, if need be a dash."""
    runs = runs_of(records)
    numbers = quoted_numbers.quoted_numbers(runs)

    assert numbers["accuracy, 2 bit, stochastic, N=1"] == quoted_numbers.MISSING
    assert set(re.findall(r"\\lab\{([^}]*)\}", SOURCE)) - {"key"} <= set(numbers)
    assert set(claims.verdicts(runs)) == set(claims.CLAIMS)
    table = step_times.speed_table(runs)
    body = table[table.index(r"\midrule") : table.index(r"\bottomrule")]
    columns = table[table.index(r"\fill}}") :].split("@{}}")[0].count(" r") + 1
    assert {line.count("&") + 1 for line in body.splitlines() if line.endswith(r"\\")} <= {columns}


def test_names_from_records_are_no_commands():
    """What a record may hold, such as an underscore or a percent sign, is escaped before LaTeX reads it."""
    records = [fake_runs.record(bits=bits, nodes=2, model="a_b", dataset="50%") for bits in (32, 4)]
    runs = runs_of(records)
    numbers = quoted_numbers.quoted_numbers(runs)

    assert (numbers["model"], numbers["dataset"]) == (r"a\_b", r"50\%")
    assert numbers["test images"] == quoted_numbers.MISSING
    assert r"step of a\_b," in step_times.speed_table(runs)
    assert make_paper._claim_line("data are digits", claims.data_are_digits(runs)).endswith(
        r"{the data are 50\%}"
    )


def test_sizes_of_the_data_are_those_of_the_data():
    """The images that the text counts are those of the embedded data."""
    from qsgd_lab.data import DATASETS, load_dataset

    digits = load_dataset("digits")
    parts = (digits.train, digits.validation, digits.test)

    assert DATASETS["digits"].sizes == tuple(map(len, parts))
    assert digits.train.images.shape[2:] == (quoted_numbers.IMAGE_SIZE,) * 2


def test_the_store_is_the_one_of_the_table(tmp_path, monkeypatch):
    """Of two stores with the same keys the text takes the one from whose runs results.tex was made."""
    from qsgd_lab.report import render
    from qsgd_lab.runs.store import RunStore

    stores = [tmp_path / "runs", tmp_path / "paper"]
    for store, accuracy in zip(stores, (0.5, 0.9), strict=True):
        for bits in (32, 2):
            record = fake_runs.record(bits=bits, accuracy=accuracy)
            (store / record.key).mkdir(parents=True)
            (store / record.key / "run.json").write_text(record.to_json())
    results = tmp_path / "results.tex"
    monkeypatch.setattr(paper_runs, "STORES", tuple(stores))
    monkeypatch.setattr(paper_runs, "RESULTS", results)

    for store in stores:
        results.write_text(render(RunStore(store).records(), "latex"), encoding="utf-8")
        assert paper_runs.store_of_results() == store

    results.write_text("")
    with pytest.raises(Exception, match=r"lists no runs; write it with: qsgd-lab table"):
        paper_runs.store_of_results()


def test_the_main_comparison_is_the_demos():
    """Of several comparisons in a store the text describes the demo, and of several demos the largest."""
    records = [fake_runs.record(bits=bits, preset="other") for bits in (32, 8, 4, 2)]
    records += [fake_runs.record(bits=bits) for bits in (32, 4, 2)]
    records += [fake_runs.record(bits=2, norm="l2", bucket_size=512)]
    group = runs_of(records).group

    assert (group.shared["preset"], group.shared["norm"]) == ("demo", "max")


@pytest.mark.latex
@pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk is not installed")
def test_the_paper_compiles(tmp_path, committed):
    """LaTeX sets the paper without an error or an overfull box; it has 4 to 8 pages before the appendix."""
    import paper_figures

    folder = tmp_path / "paper"
    (folder / "generated").mkdir(parents=True)
    for path in (*PAPER.glob("*.tex"), *PAPER.glob("*.bib"), *PAPER.glob("generated/*.tex")):
        shutil.copy(path, folder / path.relative_to(PAPER))
    for name, content in paper_figures.figure_files(committed).items():
        if content is not None:
            (folder / "generated" / name).write_bytes(content)
    subprocess.run(
        ["latexmk", "-pdf", "-silent", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=600,
    )
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")

    assert re.findall(r"Overfull \\hbox|undefined|multiply defined|\?\?", log) == []
    auxiliary = (folder / "paper.aux").read_text(encoding="utf-8")
    (last,) = re.findall(r"newlabel\{end of body\}\{\{[^}]*\}\{(\d+)\}", auxiliary)
    assert 4 <= int(last) <= 8
