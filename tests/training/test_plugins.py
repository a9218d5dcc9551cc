"""Methods from outside the package: under their own names, in the key, in workers, in every output."""

from __future__ import annotations

import json
import re

import pytest
from checkout import ROOT
from registered import take_back

from qsgd_lab import plugins
from qsgd_lab.cli.main import main
from qsgd_lab.runs.record import Interrupted
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import run_training

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
#: The page's snippets by the file name in their first line.
SNIPPETS = {
    code.split("\n", 1)[0].removeprefix("# "): code
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}


def snippet(name, folder):
    """Write a snippet of the page to a folder, and return its path."""
    path = folder / name
    path.write_text(SNIPPETS[name], encoding="utf-8")
    return path


def test_snippets_are_short():
    """A compressor, an algorithm, a model and a data set take at most 40 lines each, blank ones aside."""
    assert set(SNIPPETS) == {"my_compressor.py", "my_algorithm.py", "my_model.py", "my_data.py"}
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 40 for code in SNIPPETS.values())


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys, forked_workers):
    """Return a function that runs a command in an empty folder, and returns (stdout, stderr).

    The commands of a test run in one process, where nothing is registered before them; workers are processes.
    """
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        take_back()
        capsys.readouterr()
        found = main([*map(str, arguments)])
        output, errors = capsys.readouterr()
        assert found == code, errors
        return output, errors

    return call


@pytest.fixture
def run(lab):
    """Return a function that trains a small sweep."""
    common = ("--nodes", "2", "--seeds", "0", "--epochs", "1", "--jobs", "1")
    return lambda *arguments, code=0: lab("reproduce", *common, *arguments, code=code)


def test_an_outside_compressor_trains_and_is_shown_under_its_name(tmp_path, lab, run):
    """Row, CSV and plot have its label; its file's digest is in the run; another file gives another key."""
    mine = snippet("my_compressor.py", tmp_path).rename(tmp_path / "mine.py")
    text, _ = run("--import", "mine.py", "--compressor", "ef(my-sign)", "--format", "text")
    assert "my sign + EF" in text

    # without the plug-in, its text is the name
    assert "ef(my-sign)" in lab("table", "--format", "csv")[0]
    keys = {path.parent.name for path in tmp_path.glob("runs/*/run.json")}
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.glob("runs/*/run.json")]
    (own,) = [config for config in configs if config.get("compressor")]
    assert own["compressor"] == "ef(my-sign)"
    assert own["plugins"][0].startswith("my-sign=mine.py sha256:")
    assert own["bits"] is None

    lab("plot", "--output", "figures")
    assert list((tmp_path / "figures").iterdir())
    mine.write_text(mine.read_text() + "\n# another version\n")
    asked = ("--import", "mine.py", "--compressor", "ef(my-sign)", "--dry-run", "--format", "json")
    plan = json.loads(run(*asked)[0])
    assert len({cell["key"] for cell in plan["cells"]} - keys) == 1


def test_several_compressors_are_in_one_table_with_fp32(tmp_path, run):
    """A row each beside fp32; what lacks its feedback is warned of, what theory excludes is refused."""
    data = [("--import", snippet(name, tmp_path)) for name in ("my_data.py", "my_model.py")]
    common = (*data[0], *data[1], "--dataset", "lines", "--model", "two-layers")
    asked = [part for text in ("eden", "ef(top-k)", "sign") for part in ("--compressor", text)]
    table, told = run(*common, *asked, "--format", "csv")

    for label in ("fp32", "EDEN 2 bit", "top 1 % + EF", "scaled sign"):
        assert label in table, table
    assert told.count("Warning: sign: it leaves out the same part") == 1
    assert "top-k: it leaves out" not in told
    _, refused = run(*common, "--compressor", "eden", "--compressor", "diana(top-k)", code=2)
    assert "DIANA needs an unbiased compressor" in refused


def test_an_outside_algorithm_trains(tmp_path, run):
    """Replicas that exchange every second step: one file, in the table, with half of the traffic."""
    arguments = (
        "--import",
        snippet("my_algorithm.py", tmp_path),
        "--algorithm",
        "every",
        "--compressor",
        "qsgd(bits=4,norm=max)",
    )
    text, _ = run(*arguments)
    assert ", every" in text
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert {record["config"]["algorithm"] for record in records} == {"every"}
    for record in records:
        steps, result = record["result"]["steps"], record["result"]
        assert result["coordinates_sent"] == 2 * (steps // 2) * result["num_parameters"]


def test_an_outside_model_learns_an_outside_data_set(tmp_path, lab, run):
    """Both are in the table and in the key; the lines are learnt, and the model takes the digits too."""
    model, data = snippet("my_model.py", tmp_path), snippet("my_data.py", tmp_path)
    both = ("--import", data, "--import", model, "--dataset", "lines", "--model", "two-layers")
    text, _ = run(*both, "--bits", "4", "--norm", "max")
    assert "noisy lines" in text
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/run.json")]
    assert records
    for record in records:
        origins = dict(plugin.split("=", 1) for plugin in record["config"]["plugins"])
        assert origins["lines"].startswith("my_data.py sha256:")
        assert origins["two-layers"].startswith("my_model.py sha256:")
        assert record["result"]["test_accuracy"] > 0.8
    asked = ("--import", model, "--model", "two-layers", "--nodes", "2")
    _, notice = lab("reproduce", "--dry-run", *asked)
    assert "digits" in notice


def test_an_algorithm_with_replicas_resumes_bit_for_bit(tmp_path, monkeypatch):
    """Stopped between two exchanges and continued, a run ends as one that was never stopped."""
    plugins.load([str(snippet("my_algorithm.py", tmp_path))])
    (cell,) = configurations(
        "demo", ["alexnet"], [2], ["ef(top-k(fraction=0.1))"], [0], {"epochs": 1}, "every(period=3)"
    )

    def train(path, stops):
        countdown = iter(range(stops, -1, -1)) if stops else None

        def should_stop():
            return countdown is not None and next(countdown) == 0

        return run_training(cell, checkpoint=path, should_stop=should_stop, progress=lambda *_: None)

    with pytest.raises(Interrupted):
        train(tmp_path / "a.npz", 4)
    with pytest.raises(Interrupted):
        train(tmp_path / "a.npz", 7)
    stopped, whole = train(tmp_path / "a.npz", 0), train(tmp_path / "b.npz", 0)
    assert stopped.result == whole.result
    assert stopped.epochs == whole.epochs


#: Kind -> a plug-in whose last line registers "mine".
TWICE = {
    "compressor": "from qsgd_lab.compressors import COMPRESSORS, Method\n"
    "COMPRESSORS.register(Method('mine', object, (), str, summary='', source=''))",
    "algorithm": "from qsgd_lab.algorithms.registry import ALGORITHMS, Method\n"
    "ALGORITHMS.register(Method('mine', object, (), str, summary='', source=''))",
    "model": "from qsgd_lab.models import register_model\nregister_model('mine', object)",
    "dataset": "from qsgd_lab.data import DatasetEntry, register_dataset\n"
    "register_dataset(DatasetEntry('mine', 'mine', (1, 1, 1), 2, (1, 1, 1), object))",
}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--compressor", "topk"), 2, "did you mean 'top-k'"),
        (("--compressor", "top-k(share=1)"), 2, "has no option 'share'"),
        (("--compressor", "damped(top-k)"), 2, "only an unbiased quantizer is damped"),
        (("--algorithm", "local"), 2, "unknown algorithm 'local'"),
        (("--import", "absent.py"), 2, "there is no such file"),
        (("--import", "no_such_module"), 2, "no module of this name"),
        (("--import", "broken.py"), 2, "cannot import"),
        (("--import", "no-number.py"), 2, "no-number.py: invalid literal for int()"),
        (("--import", "no-table.py"), 2, "no-table.py: FileNotFoundError"),
        (("--import", "a:b.py"), 2, "rename it without"),
        (("--import", "exits.py"), 2, "it exits with 3"),
        (("--import", "odd.py"), 2, "odd.py: Odd: in two lines"),
        (("--import", "empty.py"), 2, "empty.py: it registers no method"),
        (("--import", "json"), 2, "cannot import json: it registers no method"),
        (("--import", "taken.py"), 2, "two compressors are named 'qsgd'"),
        (("--import", "twice-compressor.py"), 2, "two compressors are named 'mine', both from twice-compr"),
        (("--import", "twice-algorithm.py"), 2, "two algorithms are named 'mine', both from twice-algor"),
        (("--import", "twice-model.py"), 2, "two models are named 'mine', both from twice-model.py sha256:"),
        (("--import", "twice-dataset.py"), 2, "two data sets are named 'mine', both from twice-dataset.py"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, message):
    """Exit 2, one line on stderr that says what is wrong, and no run made."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "no-number.py").write_text("int('two')\n")
    (tmp_path / "no-table.py").write_text("open('table.csv')\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "odd.py").write_text("class Odd(BaseException): pass\nraise Odd('in two\\nlines')\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "taken.py").write_text(
        "from qsgd_lab.compressors import COMPRESSORS, Method\n"
        "COMPRESSORS.register(Method('qsgd', object, (), str, summary='', source=''))\n"
    )
    for kind, call in TWICE.items():
        (tmp_path / f"twice-{kind}.py").write_text(f"{call}\n{call.splitlines()[-1]}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--nodes", "2", "--seeds", "0", *arguments]) == code
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("Error")]
    assert len(lines) == 1, errors
    assert message in lines[0]
    assert "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_a_package_is_known_by_all_of_its_code(tmp_path, monkeypatch):
    """An edit of any file of a plug-in that is a package changes its origin, and nothing else does."""
    package = tmp_path / "mine_package"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("rounding.py", "deep/__init__.py", "deep/table.py"):
        (package / name).write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    codes = []
    for edited in (None, "__init__.py", "rounding.py", "deep/table.py"):
        if edited:
            (package / edited).write_text("two = 2\n")
        whole, part = (plugins._code_of(name) for name in ("mine_package", "mine_package.rounding"))
        assert whole == part
        codes.append(whole)
    (package / "notes.txt").write_text("no code")
    assert plugins._code_of("mine_package") == codes[-1]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(("name", "what"), [("digits", "data set"), ("alexnet-quarter", "model")])
def test_a_method_is_not_named_as_what_it_trains(tmp_path, name, what):
    """Origins are by name: such a run would have a baseline that nobody has made."""
    path = tmp_path / "method.py"
    path.write_text(TWICE["compressor"].replace("'mine', object", f"{name!r}, lambda: QSGD(bits=2)"))
    path.write_text("from qsgd_lab.compressors import QSGD\n" + path.read_text())
    plugins.load([str(path)])
    with pytest.raises(ValueError, match=f"the run's {what} are both named '{name}'"):
        configurations("demo", ["alexnet"], [2], [name], [0], {})


def distribution(folder, module, code):
    """Install a distribution with an entry point of each group, all to one module; Python finds it there."""
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n{module} = {module}\n\n" for group in plugins.GROUPS)
    )
    (folder / f"{module}.py").write_text(code)


def test_an_installed_distribution_needs_no_option(tmp_path, monkeypatch, capsys, forked_workers):
    """Its method is in the list, and in the run under the distribution's name, version and digest."""
    distribution(tmp_path, "sign_pack", SNIPPETS["my_compressor.py"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["methods", "--format", "json"]) == 0
    assert "my-sign" in capsys.readouterr().out

    one = ("--nodes", "2", "--seeds", "0", "--epochs", "1", "--jobs", "1")
    assert main(["reproduce", *one, "--compressor", "ef(my-sign)"]) == 0
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.glob("runs/*/run.json")]
    origins = {config["plugins"][0] for config in configs if config.get("compressor")}
    assert len(origins) == 1
    assert origins.pop().startswith("my-sign=sign_pack 1.2 sha256:")
    for arguments, name in ((["table"], "my sign + EF"), (["runs", "export"], "ef(my-sign)")):
        capsys.readouterr()
        assert main([*arguments, "--format", "csv"]) == 0
        assert name in capsys.readouterr().out


@pytest.mark.parametrize("code", ["1 / 0", "import no_such_package", None, TWICE["compressor"]])
def test_a_broken_distribution_is_one_line(tmp_path, monkeypatch, capsys, code):
    """It raises, lacks its module, or takes a name: exit 2, and the line names it; doctor says so, too."""
    taken = code and code.replace("'mine'", "'qsgd'")
    distribution(tmp_path, "broken_pack", taken or "")
    if code is None:
        (tmp_path / "broken_pack.py").unlink()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in (["methods"], ["reproduce", "--nodes", "2", "--seeds", "0", "--dry-run"]):
        assert main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if "Error" in line] == lines[-1:]
        assert "cannot import broken_pack" in lines[-1]
    main(["doctor"])
    assert "cannot import broken_pack" in capsys.readouterr().out.replace("\n", " ")
