"""``qsgd-lab compare``: rows, tests, budgets, formats, and going on where it was stopped."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import checkout
import click
import numpy as np
import pytest

from qsgd_lab.cli.main import main
from qsgd_lab.cli.sweep import compare_networks
from qsgd_lab.cli.sweep.compare_output import Words, render
from qsgd_lab.method_text import cut_option
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.comparison.outcome import FlowSoFar, Outcome
from qsgd_lab.report.comparison.rows import Budget, rows_of

COMMON = ["compare", "--problem", "kinked", "--nodes", "4,8", "--steps", "60", "--repeats", "120"]
METHODS = ["--method", "synchronous", "--method", "local-sgd(rounds=4)"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QSGD_LAB_IMPORT", raising=False)


def compare(capsys, *arguments, code=0):
    """Run the command; return (stdout, stderr)."""
    assert main([*arguments]) == code
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_table_with_errors_traffic_and_tests(capsys):
    """JSON has each method at each N, its traffic, its speed-up and the paired test against the first."""
    out, err = compare(capsys, *COMMON, *METHODS, "--format", "json")
    rows = json.loads(out)

    assert "Warning" not in err
    assert [(row["nodes"], row["method"]) for row in rows] == [
        (4, "synchronous, fp32"),
        (4, "local SGD (4 rounds)"),
        (8, "synchronous, fp32"),
        (8, "local SGD (4 rounds)"),
    ]
    assert [row["rounds"] for row in rows] == [60, 4, 60, 4]
    assert [row["sent_bits"] for row in rows] == [60 * 32, 4 * 32, 60 * 32, 4 * 32]
    assert [row["p_value"] is None for row in rows] == [True, False, True, False]
    assert all(row["runs"] == 120 and row["error"] > 0 and row["speed_up"] > 1 for row in rows)
    assert rows[2]["mean"] < rows[0]["mean"]


def test_what_speaks_against_a_method_is_said_before_it_runs(capsys, monkeypatch):
    """Of methods on a problem and of networks, once for all numbers of nodes."""
    unsound = ["--method", "synchronous(compressor=ef(rand-k))", "--method", "synchronous(compressor=sign)"]
    small = ["--nodes", "1,2", "--steps", "2", "--repeats", "2"]
    _, on_problem = compare(capsys, "compare", "--problem", "unlike-curvatures", *small, *unsound)

    def stop(*_):
        raise click.exceptions.Exit(5)

    monkeypatch.setattr(compare_networks, "train_missing", stop)
    networks = ["compare", "--problem", "digits", "--nodes", "1,2", "--seeds", "0", "--epochs", "1"]
    _, of_networks = compare(capsys, *networks, *unsound, code=5)
    for said in (on_problem, of_networks):
        assert said.count("ef(rand-k): the variance factor under error feedback") == 1
        assert said.count("sign: it leaves out the same part") == 1


def test_what_is_stored_is_not_run_again(capsys, tmp_path):
    """Another call, or one with more methods, runs only what is missing, and prints the same numbers."""
    first, said = compare(capsys, *COMMON, *METHODS, "--format", "json")
    assert said.count("repetitions") == 2 * 5  # blocks of 100 and 20; one node alone, for speed-ups
    again, nothing = compare(capsys, *COMMON, *METHODS, "--format", "json")
    assert (again, nothing) == (first, "")

    stored = sorted(tmp_path.glob("runs/*/problem.json"))
    stored[3].unlink()  # as if killed there
    resumed, said = compare(capsys, *COMMON, *METHODS, "--format", "json")
    assert (resumed, said.count("repetitions")) == (first, 1)

    stored[0].write_text(stored[0].read_text()[:-40])
    _, said = compare(capsys, *COMMON, *METHODS, code=4)
    assert "is not a sound record" in said


def test_a_budget_ends_each_method_where_it_is_spent(capsys):
    """At 32 times fewer bits synchronous fp32 has one step in 32, and a method within it all of them."""
    out, _ = compare(capsys, *COMMON, *METHODS, "--budget", "15x", "--format", "json")
    rows = json.loads(out)
    assert [row["steps"] for row in rows] == [3, 60, 3, 60]

    out, _ = compare(capsys, *COMMON, *METHODS, "--budget", "6.4E2", "--format", "json")
    assert {row["steps"] for row in json.loads(out)[::2]} == {9}
    assert all(row["is_within_budget"] for row in json.loads(out))
    out, _ = compare(capsys, *COMMON, *METHODS, "--budget", "0.000001s@1Gbit/s", "--format", "json")
    over, within = json.loads(out)[
        :2
    ]  # the first checkpoint is taken; before its round local SGD sent nothing
    assert (over["steps"], over["is_within_budget"], within["steps"]) == (2, False, 14)
    assert "over budget" in compare(capsys, *COMMON, *METHODS, "--budget", "0.001ms@1Gbit/s")[0]


def test_csv_has_a_line_a_run_and_checkpoint(capsys):
    """Tidy: its last lines' mean is the table's."""
    rows = json.loads(compare(capsys, *COMMON, *METHODS, "--format", "json")[0])
    lines = list(csv.DictReader(io.StringIO(compare(capsys, *COMMON, *METHODS, "--format", "csv")[0])))
    last = [
        float(line["value"])
        for line in lines
        if (line["nodes"], line["method"], line["step"]) == ("4", "synchronous, fp32", "60")
    ]

    assert len(last) == 120
    assert sum(last) / 120 == pytest.approx(rows[0]["mean"], rel=1e-12)
    tidy = compare(capsys, *COMMON, *METHODS, "--format", "jsonl")[0]
    objects = [json.loads(line) for line in tidy.splitlines()]
    assert [{name: "" if v is None else str(v) for name, v in one.items()} for one in objects] == lines


def test_text_latex_and_figure(capsys, tmp_path):
    """Text names problem, measure and test; LaTeX is a table; the figure is written."""
    text, _ = compare(capsys, *COMMON, *METHODS, "--plot", "compared.svg")
    assert "Problem kinked" in text
    assert "paired t test against synchronous, fp32" in text
    assert (tmp_path / "compared.svg").read_bytes().startswith(b"<?xml")
    latex, _ = compare(capsys, *COMMON, *METHODS, "--format", "latex")
    assert r"\begin{tabular}" in latex


def test_the_rate_is_chosen_on_other_repetitions(capsys):
    """Of several factors each method gets its best; the row says which."""
    arguments = ["--rate-scale", "0.01,1", "--format", "json"]
    rows = json.loads(compare(capsys, *COMMON, *METHODS, *arguments)[0])
    assert all(row["method"].endswith("rate x 1") for row in rows)


def test_plug_ins_compare_too(capsys, tmp_path):
    """A compressor, an algorithm that knows no repetitions, and a problem from a file, in one comparison."""
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from qsgd_lab.algorithms.registry import ALGORITHMS, Method\n"
        "from qsgd_lab.algorithms.synchronous import Synchronous\n"
        "from qsgd_lab.problems import ProblemEntry, register_problem\n"
        "from qsgd_lab.problems.scalar import Kinked\n"
        "class Mine(Synchronous):\n"
        "    is_elementwise = False\n"
        "ALGORITHMS.register(Method('mine', Mine, (), lambda _: 'mine', summary='', source='me'))\n"
        "register_problem(ProblemEntry('my-kink', 'a kink', 'x^2', lambda *_: Kinked()))\n"
    )
    arguments = ["compare", "--import", "mine.py", "--problem", "my-kink", "--steps", "20", "--repeats", "5"]
    out, _ = compare(capsys, *arguments, "--method", "synchronous", "--method", "mine", "--format", "json")
    one, two = json.loads(out)
    assert one["mean"] == two["mean"]
    assert two["method"] == "mine"


@pytest.mark.usefixtures("forked_workers")
def test_networks_are_compared_on_a_data_set(capsys, monkeypatch):
    """Trained once and kept: accuracy by seed, the traffic of the rounds, and validation under a budget."""
    monkeypatch.setattr("qsgd_lab.cli.sweep.reproduce.usable_cores", lambda: 2)
    arguments = ["compare", "--problem", "digits", "--nodes", "2", "--seeds", "0", "--epochs", "2"]
    arguments += ["--split", "shards:4", "--jobs", "1", "--format", "json"]
    arguments += ["--method", "synchronous", "--method", "local-sgd(interval=16)"]
    rows = json.loads(compare(capsys, *arguments)[0])
    assert [row["method"] for row in rows] == ["synchronous, fp32", "local SGD (H = 16)"]
    assert [row["runs"] for row in rows] == [1, 1]
    assert rows[0]["sent_bits"] == rows[0]["received_bits"] == rows[0]["steps"] * 32 * 159578
    assert rows[0]["rounds"] == rows[0]["steps"]
    assert rows[1]["rounds"] == -(-rows[1]["steps"] // 16)
    assert all(10 < row["mean"] <= 100 for row in rows)

    again = [*arguments, "--budget", "1.5x"]
    within, said = compare(capsys, *again)
    assert "Training" not in said
    assert [row["steps"] for row in json.loads(within)] == [rows[0]["steps"] // 2, rows[1]["steps"]]


def test_the_rate_of_networks_is_chosen_on_a_seed_of_its_own(monkeypatch):
    """Each method gets the factor of the best validation accuracy at the end; a diverged run is none."""
    asked = compare_networks.NetworkRuns("demo", "digits", None, [2], [0, 1], {}, RateScales.parse("auto"))
    trained = []

    class Store:
        def __init__(self, _folder):
            pass

        def record(self, config):
            rate = config.learning_rate / 0.03
            best = 1 if config.algorithm == "synchronous" else 1 / 8
            accuracy = 1 - abs(np.log2(rate / best)) / 20
            return SimpleNamespace(status="done" if rate <= 2 * best else "diverged", accuracy=accuracy)

        def epochs(self, record):
            return [SimpleNamespace(validation_accuracy=a) for a in (1.0, record.accuracy)]

    monkeypatch.setattr("qsgd_lab.runs.store.RunStore", Store)
    monkeypatch.setattr(compare_networks, "train_missing", lambda configs, *_: trained.extend(configs))
    monkeypatch.setattr(compare_networks, "_outcome", lambda label, configs, _: (label, configs))
    outcomes = compare_networks.network_outcomes(asked, ["synchronous", "local-sgd"], None, 1, None)

    assert [label for label, _ in outcomes] == [
        "synchronous, fp32, rate x 1",
        "local SGD (H = 8), rate x 0.125",
    ]
    for _, configs in outcomes:
        assert [config.seed for config in configs] == [0, 1]
        assert not {config.key for config in configs} - {config.key for config in trained}
    assert {config.seed for config in trained} == {0, 1, compare_networks.TUNING_SEED}
    assert outcomes[1][1][0].learning_rate == 0.03 / 8


def test_runs_that_diverged_are_marked(capsys):
    """An accuracy keeps its mean and says how many runs diverged; an error that is infinite has none."""
    one = Outcome(
        2,
        "m",
        (0, 1, 2),
        np.array([5]),
        np.ones(1),
        {"sums": FlowSoFar(np.ones(1), np.ones(1), np.ones(1))},
        np.array([[9.0, 11, 10]]),
        4,
        np.array([9.0, 11, 10]),
        (False, True, True),
    )
    errors = replace(one, values=np.array([[1.0, np.inf, 2.0]]), final=None, astray=None)
    rows = rows_of([one, errors], budget=Budget(), link=Link(1e8, 1e-5))
    words = Words("t", "accuracy", ())
    text = render(rows, [one, errors], words, "text")
    assert "10.00 ± 0.58, 2 div." in text
    assert "div., 1 of 3" in text
    lines = list(csv.DictReader(io.StringIO(render(rows, [one], words, "csv"))))
    assert [line["diverged"] for line in lines] == ["False", "True", "True"]


@pytest.mark.parametrize("problem", ["kinked", "published-local-sgd", "logistic", "ridge"])
def test_every_problem_of_the_package_and_every_form_of_a_budget(capsys, problem):
    """One table for each N, with the methods' options; ratio, bits and seconds are all within budget."""
    arguments = ["compare", "--problem", problem, "--nodes", "2,4", "--steps", "24", "--repeats", "3"]
    arguments += ["--method", "local-sgd(schedule=growing,rounds=3)", "--method", "cser(ratio=2)"]
    arguments += ["--format", "json"]
    ends = {}
    for budget in ("2x", "1e4", "1e+4", "1s@1Gbit/s"):
        rows = json.loads(compare(capsys, *arguments, "--budget", budget)[0])
        assert [row["nodes"] for row in rows] == [2, 2, 4, 4]
        assert all(row["is_within_budget"] for row in rows[::2])
        assert np.isfinite([row["mean"] for row in rows]).all()
        ends[budget] = [row["steps"] for row in rows]
    assert ends["1e4"] == ends["1e+4"]
    assert ends["1s@1Gbit/s"] == [24] * 4


PAPER_RUNS = str(checkout.ROOT / "paper" / "compare-runs.jsonl")


@pytest.mark.parametrize("output", ["text", "json", "jsonl", "csv", "latex"])
def test_fashion_mnist_from_a_packed_file(capsys, output):
    """Stored runs are read where they are packed; nothing is trained; three seeds, and the searched rate."""
    arguments = ["compare", "--problem", "fashion-mnist", "--preset", "own", "--model", "mlp", "--nodes", "4"]
    arguments += ["--epochs", "1", "--seeds", "0..2", "--rate-scale", "coarse", "--runs", PAPER_RUNS]
    out, said = compare(
        capsys,
        *arguments,
        *("--method", "synchronous", "--method", "local-sgd(rounds=2)"),
        *("--format", output, "--budget", "800x"),
    )
    assert said == ""
    if output == "json":
        whole, local = json.loads(out)
        assert (whole["is_within_budget"], local["is_within_budget"]) == (False, True)
        assert (local["runs"], local["rounds"], local["method"]) == (
            3,
            2,
            "local SGD (2 rounds), rate x 0.25",
        )
    else:
        assert "local SGD (2 rounds), rate" in out
    if output == "jsonl":
        lines = [json.loads(line) for line in out.splitlines()]
        assert [(line["method"][:11], line["run"], line["step"]) for line in lines] == [
            (name, run, 1687) for name in ("synchronous", "local SGD (") for run in range(3)
        ]
        assert np.mean([line["test_value"] for line in lines[3:]]) == pytest.approx(83.5, abs=0.05)


def test_options_of_the_other_kind_are_refused(capsys):
    """Repetitions belong to problems, seeds to networks."""
    common = ["--method", "synchronous"]
    _, said = compare(capsys, "compare", "--problem", "digits", "--repeats", "9", *common, code=2)
    assert "digits is a data set; leave out --repeats" in said
    _, said = compare(capsys, "compare", "--problem", "kinked", "--seeds", "1", *common, code=2)
    assert "kinked is a problem with a known optimum; leave out --seeds" in said
    _, said = compare(capsys, "compare", "--problem", "digits", "--seed", "1", *common, code=2)
    assert "digits is a data set; leave out --seed" in said
    _, said = compare(capsys, "compare", "--problem", "kinked", "--preset", "own", *common, code=2)
    assert "kinked is a problem with a known optimum; leave out --preset" in said
    _, said = compare(capsys, "compare", "--problem", "kinked", "--split", "shards:1", *common, code=2)
    assert "kinked is a problem without examples; leave out --split" in said
    slow = ["--method", "synchronous(collective=slow)"]
    _, said = compare(capsys, "compare", "--problem", "digits", *slow, code=2)
    assert "collective must be one of: auto, all-gather, two-phase, all-reduce" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problem", "no-such"], "unknown problem 'no-such'"),
        (["--method", "no-such"], "unknown algorithm 'no-such'"),
        (["--method", "synchronous(compressor=topk)"], "did you mean 'top-k'"),
        (["--budget", "much"], "--budget is 'much'; write 32x"),
        (["--rate-scale", "0"], "write numbers above 0"),
        (["--split", "shards"], "is not a split over nodes"),
        (["--budget", "0x"], "--budget is '0x'; write 32x"),
        (["--budget", "2s@fast"], "--budget is '2s@fast': 'fast' is not a bandwidth"),
        (["--method", "local-sgd(rounds=4"], "a comma or ) is missing"),
        (["--method", "synchronous(compressor=)"], "compressor= has no value"),
        (["--method", "ef-sgd(compressor=top-k,compressor=sign)"], "compressor is given twice"),
        (["--method", "local-sgd(rounds=61)"], "local-sgd(rounds=61): 61 rounds do not fit into 60 local"),
        (["--method", "synchronous(collective=two-phase)"], "collective belongs to networks"),
        (["--nodes", "4,x"], "'--nodes'"),
        (["--import", "none.py"], "there is no such file"),
        (["--plot", "a.gif"], "has no known ending"),
    ],
)
def test_bad_requests_are_one_line(capsys, tmp_path, arguments, message):
    """Exit 2, nothing run."""
    _, said = compare(capsys, *COMMON, *METHODS, *arguments, code=2)
    assert message in said
    assert not (tmp_path / "runs").exists()


def test_an_option_is_cut_out_of_a_text():
    """The outermost option alone, wherever it is, with parentheses of its own."""
    cases = {
        "a": ("a", None),
        "a(c=x)": ("a", "x"),
        "a(b=1,c=x(y=2,z(u)))": ("a(b=1)", "x(y=2,z(u))"),
        "a( c = x, b=1)": ("a(b=1)", "x"),
        "a(b=1,c=x,d=2)": ("a(b=1,d=2)", "x"),
        "a(b=e(c=1))": ("a(b=e(c=1))", None),
    }
    for text, expected in cases.items():
        assert cut_option(text, "c") == expected
