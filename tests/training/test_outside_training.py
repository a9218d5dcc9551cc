"""Models and data sets from a plug-in: trained as the package's own, and known by their origin."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qsgd_lab import plugins
from qsgd_lab.cli.main import main
from qsgd_lab.data import DATASETS, Source, load_dataset, register_dataset
from qsgd_lab.data.stand_in import stand_in
from qsgd_lab.errors import DataMissingError
from qsgd_lab.inputs import Inputs
from qsgd_lab.models import make_model, register_model
from qsgd_lab.report.notes.captions import dataset_title
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.methods import check_plugins
from qsgd_lab.training.presets import FP32, PRESETS, Method, configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

PLUGIN = """
import torch
from torch import nn
from qsgd_lab.data import Dataset, DatasetEntry, Part, register_dataset
from qsgd_lab.models import register_model

SIZES = (64, 16, 16)

def load():
    generator = torch.Generator().manual_seed(7)
    parts = []
    for size in SIZES:
        labels = torch.arange(size) % 2
        noise = torch.randn(size, 1, 6, 4, generator=generator)
        parts.append(Part(noise + 2 * labels.view(-1, 1, 1, 1), labels))
    return Dataset("stripes", 2, *parts)

def network(image_shape, num_classes):
    channels, height, width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(3 * height * width, num_classes),
    )

register_dataset(DatasetEntry("stripes", "made-up stripes", (1, 6, 4), 2, SIZES, load))
register_model("tiny", network)
register_model("for-digits", lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
"""


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Forget data sets: those of one name differ between tests."""
    yield
    load_dataset.cache_clear()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "stripes_plugin.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def loaded(plugin: Path) -> str:
    """Load the plug-in, and return its origin."""
    plugins.load([str(plugin)])
    return origin_of(plugin)


def origin_of(plugin: Path) -> str:
    return f"{plugin.name} sha256:{hashlib.sha256(plugin.read_bytes()).hexdigest()[:12]}"


def make_configs(engine: str = "auto", *methods: Method | str, model: str = "tiny") -> list[RunConfig]:
    overrides = {"epochs": 2, "global_batch": 8, "engine": engine}
    return configurations("demo", [model], [2], methods or [Method(4)], [0], overrides, dataset="stripes")


@pytest.mark.parametrize("engine", ["auto", "loop", "batched"])
def test_one_channel_trains_with_every_engine(loaded: str, engine: str, tmp_path: Path) -> None:
    """Images of 1x6x4 in two classes: every engine trains the same run, from plan to outcome."""
    (cell,) = make_configs(engine)
    trainer = Trainer(cell, load_dataset("stripes"))
    assert isinstance(trainer.engine, NodeLoop if engine == "loop" else NodeBatched)
    reference = Trainer(make_configs("loop")[0], load_dataset("stripes"))
    losses = [float(each.step(0, Stopwatch())) for each in (trainer, reference)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    outcome = run_training(
        cell, checkpoint=tmp_path / "c.npz", should_stop=lambda: False, progress=lambda *_: None
    )
    assert outcome.status == "done"
    assert outcome.result["test_accuracy"] > 0.8  # classes are two standard deviations apart in every pixel


def test_origins_are_in_the_key(loaded: str) -> None:
    """The plug-in's digest is beside the names of model and data set, in the baseline as well."""
    (cell,) = make_configs()
    assert cell.plugins == (f"stripes={loaded}", f"tiny={loaded}")
    assert cell.baseline() == make_configs("auto", FP32)[0]
    changed = dataclasses.replace(cell, plugins=("stripes=other", "tiny=other"))
    assert changed.key != cell.key
    check_plugins(cell)
    with pytest.raises(ValueError, match="plan it again"):
        check_plugins(changed)


def test_the_packages_own_keep_their_keys(loaded: str) -> None:
    """A plug-in that is loaded and not used changes no run; naming the preset's data set neither."""
    plain = configurations("demo", ["alexnet"], [2], [Method(4)], [0], {})
    assert plain[0].plugins == ()
    assert "plugins" not in plain[0].to_dict()
    assert configurations("demo", ["alexnet"], [2], [Method(4)], [0], {}, dataset="digits") == plain


def test_a_registered_model_takes_the_presets_settings(loaded: str) -> None:
    """Any preset trains it; only one whose settings are all of its own models says that it cannot."""
    for name in PRESETS:
        if name == "report-2023":
            with pytest.raises(ValueError, match="no epochs, learning_rate, weight_decay"):
                configurations(name, ["tiny"], [2], [Method(4)], [0], {})
        else:
            (cell,) = configurations(name, ["tiny"], [2], [Method(4)], [0], {})
            assert (cell.model, cell.dataset) == ("tiny", PRESETS[name].dataset)
            assert cell.learning_rate == PRESETS[name].settings["learning_rate"]


def test_an_augmentation_that_does_not_suit_is_left_out(loaded: str) -> None:
    """`quick` crops and flips CIFAR-10, and neither the digits nor what does not ask for it."""
    augmentations = {
        name: configurations("quick", ["tiny"], [1], [FP32], [0], {"global_batch": 8}, dataset=name)[0]
        for name in ("cifar10", "digits", "stripes")
    }
    assert [cell.augmentation for cell in augmentations.values()] == ["crop-flip", None, None]


def test_the_entry_is_what_plans_and_captions_read(loaded: str) -> None:
    """The stand-in has the entry's shape; a batch larger than its training set is refused by its size."""
    made_up = stand_in("stripes")
    assert made_up.train.images.shape == (64, 1, 6, 4)
    assert made_up.num_classes == 2
    assert dataset_title("stripes") == "made-up stripes"
    assert dataset_title("elsewhere") == "elsewhere"
    with pytest.raises(ValueError, match="more than the 64 training images of stripes"):
        configurations("demo", ["tiny"], [1], [FP32], [0], {"global_batch": 128}, dataset="stripes")
    with pytest.raises(
        ValueError,
        match="unknown data set 'stripe'; known: digits, cifar10, cifar100, fashion-mnist, brackets, stripes",
    ):
        configurations("demo", ["tiny"], [1], [FP32], [0], {}, dataset="stripe")


def reproduce(plugin: Path, *options: str) -> int:
    fast = ["--nodes", "2", "--seeds", "0", "--bits", "32", "--epochs", "1", "--global-batch", "8"]
    return main(["reproduce", "--import", str(plugin), *fast, "--device", "cpu", *options])


@pytest.mark.usefixtures("forked_workers")
def test_reproduce_trains_what_is_imported(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command: workers import the plug-in again, records name it, the table has its title."""
    monkeypatch.chdir(tmp_path)
    assert reproduce(plugin, "--dataset", "stripes", "--model", "tiny") == 0
    printed = capsys.readouterr()
    assert "tiny" in printed.out
    assert "made-up stripes" in printed.out
    assert "Data: made-up stripes." in printed.err
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.glob("runs/*/run.json")]
    assert [config["plugins"] for config in configs] == [
        [f"stripes={origin_of(plugin)}", f"tiny={origin_of(plugin)}"]
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "alexnet"), "model 'alexnet-quarter' cannot take images of 1x6x4"),
        (("--model", "for-digits"), "model 'for-digits' cannot take images of 1x6x4"),
        (("--model", "nowhere"), "preset 'demo' has no model 'nowhere'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_first(
    plugin: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Exit 2, one line, nothing trained."""
    monkeypatch.chdir(tmp_path)
    assert reproduce(plugin, "--dataset", "stripes", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("runs").exists()


def test_names_are_taken_once(loaded: str, tmp_path: Path) -> None:
    """Neither another plug-in nor anyone else takes a name of a plug-in or of the package: one line."""
    other = tmp_path / "other.py"
    other.write_text(PLUGIN + "# another file\n")
    with pytest.raises(ValueError, match="two data sets are named 'stripes', from stripes_plugin") as caught:
        plugins.load([str(other)])
    assert "\n" not in str(caught.value)
    for name in ("tiny", "alexnet"):
        with pytest.raises(ValueError, match=f"two models are named '{name}', from"):
            register_model(name, torch.nn.Identity)
    with pytest.raises(ValueError, match="two data sets are named 'digits', from qsgd_lab and unknown"):
        register_dataset(dataclasses.replace(DATASETS["stripes"], name="digits"))
    assert set(DATASETS) == {"digits", "cifar10", "cifar100", "fashion-mnist", "brackets", "stripes"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Two Words"}, "is not a data set's name"),
        ({"shape": (6, 4)}, r"shape is \(channels, height, width\)"),
        ({"sizes": (64, 0, 16)}, "at least 1"),
        ({"notice": "Data: {files}."}, "needs a source"),
    ],
)
def test_a_malformed_entry_is_refused(loaded: str, change: dict[str, object], message: str) -> None:
    """The entry itself is checked when it is registered."""
    with pytest.raises(ValueError, match=message):
        register_dataset(dataclasses.replace(DATASETS["stripes"], **({"name": "new"} | change)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (1, 4, 6)}, r"train.images has the shape \(64, 1, 6, 4\), \(64, 1, 4, 6\)"),
        ({"sizes": (64, 16, 17)}, "test.images has the shape"),
        ({"num_classes": 3}, "2 classes, 3 by its entry"),
        ({"stores_bytes": True}, "is torch.float32"),
    ],
)
def test_arrays_that_are_not_as_the_entry_says_are_refused(
    loaded: str, change: dict[str, object], message: str
) -> None:
    """What a plug-in loads is compared with what it said before."""
    register_dataset(dataclasses.replace(DATASETS["stripes"], name="new", **change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        load_dataset("new")


def test_labels_without_a_class_are_refused(loaded: str) -> None:
    """A label equal to the number of classes would index past the outputs."""

    def load() -> object:
        whole = DATASETS["stripes"].load()
        return dataclasses.replace(whole, test=dataclasses.replace(whole.test, labels=whole.test.labels + 1))

    register_dataset(dataclasses.replace(DATASETS["stripes"], name="new", load=load))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"test\.labels must be 0 to 1"):
        load_dataset("new")


def test_a_constructor_gets_what_its_signature_has() -> None:
    """Either keyword, both, neither; a class as well as a function."""
    asked: list[dict[str, object]] = []

    def classes_only(num_classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, num_classes))

    def anything(**given: object) -> torch.nn.Module:
        asked.append(given)
        return classes_only(2)

    register_model("classes-only", classes_only)
    register_model("anything", anything)
    register_model("flatten", torch.nn.Flatten)
    make_model("classes-only", Inputs((1, 6, 4), 2))
    make_model("anything", Inputs((1, 6, 4), 2))
    assert asked == [{"image_shape": (1, 6, 4), "num_classes": 2}]
    with pytest.raises(ValueError, match=r"gives \(1, 24\) for one input of 2 classes"):
        make_model("flatten", Inputs((1, 6, 4), 2))
    with pytest.raises(ValueError, match="must be callable"):
        register_model("nothing", None)  # type: ignore[arg-type]


def test_files_from_outside_are_found_fetched_and_checked(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set with a source: exit 3 without its files; --download fetches and verifies them first."""
    monkeypatch.chdir(tmp_path)
    plugins.load([str(plugin)])

    @dataclasses.dataclass
    class File:
        path: Path
        form: str = "text"

    def find(folders: list[Path]) -> File:
        for folder in folders:
            if (folder / "stripes.txt").is_file():
                return File(folder / "stripes.txt")
        raise DataMissingError("stripes.txt is not here")

    def fetch(folder: Path, **_told: object) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "stripes.txt").write_text("stripes")
        return folder / "stripes.txt"

    verified: list[Path] = []
    source = Source(find, fetch, lambda copy: verified.append(copy.path), lambda copy: {"path": copy.path})  # type: ignore[arg-type]
    register_dataset(dataclasses.replace(DATASETS["stripes"], source=source), origin_of(plugin))
    asked = ("--dataset", "stripes", "--model", "tiny", "--data-dir", "files")
    assert reproduce(plugin, *asked) == 3
    assert "stripes.txt is not here; --download" in capsys.readouterr().err
    assert reproduce(plugin, *asked, "--download") == 0
    assert verified == [Path("files/stripes.txt")]
    assert "not here; fetch it with: reproduce --download" in capsys.readouterr().err
    assert reproduce(plugin, *asked) == 0
    assert "Data: made-up stripes, text files/stripes.txt." in capsys.readouterr().err


def test_the_registry_loads_no_torch(tmp_path: Path) -> None:
    """Plans and help read entries without torch."""
    code = "import sys, qsgd_lab.data.registry as r; r.dataset_entry('digits'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
