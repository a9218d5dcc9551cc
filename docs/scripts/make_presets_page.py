"""Write docs/presets.md, or check that it is current.

python docs/scripts/make_presets_page.py            write it
python docs/scripts/make_presets_page.py --check    exit with 1 if it would change
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.flaws import FLAWS
from qsgd_lab.training.presets import PRESETS, Preset, configurations

PAGE = Path(__file__).resolve().parent.parent / "presets.md"

INTRODUCTION = """# Presets

<!-- written by docs/scripts/make_presets_page.py from qsgd_lab/training/preset_table.py -->

A preset is a protocol: data, networks, hyper-parameters, and the methods that a sweep compares.
`qsgd-lab reproduce --preset NAME` runs it, and `--epochs`, `--global-batch`, `--norm`, `--bucket-size`,
`--convention`, `--raw-tensors-up-to`, `--scaling`, `--flaw`, `--engine` and `--precision` replace single
settings. A run's name is a hash of its settings, so that runs of different settings never mix in a table.

The presets on the digits and on brackets need no download. Those on CIFAR-10 have 45 000 images for training,
5 000 for validation and 10 000 for the test; that on Fashion-MNIST has 54 000, 6 000 and 10 000.
[data.md](data.md) says how to get these data sets, and how to train on data of your own. Without the files,
the command says so and exits with code 3.

In all presets, unless a flaw is replayed, the global batch is the same at every number of nodes, so that
only the quantizer changes (`--scaling weak` is the other regime). Accuracy is measured in evaluation
mode. The checkpoint is chosen on the validation part, and the test set is read once.

Warm-up is a share of all steps, over which the learning rate rises linearly. After the warm-up, `linear`
falls linearly to zero, `steps` divides by 10 at half and again at three quarters of all steps,
and `constant` does not change. `b` bits mean s = 2^b - 1 levels, but under `power-of-two` 2^b.
"""

SOURCES = """## Where the settings come from

* `full`: ResNet-20 and ResNet-110 as in He et al. 2016 (batch 128, 64 000 steps, 0.1 divided by 10 at
  32 000 and 48 000, decay 1e-4, crops and flips; about 400 steps of warm-up for ResNet-110, with a rate
  that rises where the paper has a lower constant rate). AlexNet for 164 epochs, as in the README of
  bearpaw/pytorch-classification, whose AlexNet file says to start at 0.01 without BatchNorm. ResNet-18 and
  ResNet-50 for 350 epochs with decay 5e-4, as in the README of kuangliu/pytorch-cifar, with the two
  divisions at 175 and 262 epochs instead of 150 and 250.
* `quick`: the same in few epochs, with Nesterov momentum and a rate that falls to zero. It is an
  estimate of what is cheap and good, not a protocol that somebody published.
* `report-2023`: a course report of June 2023 (github.com/emilio-gambino/OptiML2023), with the settings of
  its three notebooks. The report trained only at N = 2, with one seed. The convolutions of its ResNet-18
  have biases; ours have none.
* `report`: the same networks and rates, corrected, at one global batch of 128; and the networks at 32x32
  that the report's draft announced. As published, the rate is constant and images are not augmented.
* `fashion`, `brackets`: chosen here on validation accuracy. `fashion` was chosen from three networks and the
  rates 0.05, 0.1 and 0.2; crops and flips of 4 pixels cost 2 points there and are left out. `brackets` was
  chosen from the rates 0.1 and 0.5.
* `own`: first settings for your own data; give `--epochs` and `--global-batch`.
* `demo`, `digits-full`, `digits-report`: measured here. One scale for the whole gradient and a network
  without BatchNorm make the methods differ even on such easy data.

These parts of the 2023 protocol are not replayed: test images normalised by ImageNet's statistics; a batch
size that halves from one training to the next; weights that continue from the previous run; a 32 bit
baseline that went through a quantizer whose 2^32 levels overflow an integer; early stopping by patience.
"""

#: Columns of the table of settings: heading -> field of a run's configuration.
COLUMNS = {
    "epochs": "epochs",
    "batch": "global_batch",
    "rate": "learning_rate",
    "schedule": "schedule",
    "warm-up": "warmup",
    "decay": "weight_decay",
    "Nesterov": "nesterov",
    "augmentation": "augmentation",
    "target": "target_accuracy",
}
#: And of what concerns the quantizer.
QUANTIZER_COLUMNS = {
    "norm": "norm",
    "bucket": "bucket_size",
    "convention": "convention",
    "raw up to": "raw_tensors_up_to",
    "flaws": "flaws",
}


def page() -> str:
    """Return the page."""
    return "\n".join(
        [INTRODUCTION, *(_section(name, preset) for name, preset in PRESETS.items()), _flaws(), SOURCES]
    )


def _section(name: str, preset: Preset) -> str:
    methods = "; ".join(dict.fromkeys(config.method for config in _configs(name, next(iter(preset.models)))))
    settings = _table(name, preset, COLUMNS)
    quantizer = _table(name, preset, QUANTIZER_COLUMNS)
    return (
        f"## `{name}`\n\n{preset.title[0].upper()}{preset.title[1:]}. Momentum "
        f"{_word(preset.settings['momentum'])}, seeds {', '.join(map(str, preset.seeds))}, "
        f"margin {preset.margin:g} points.\n"
        f"Methods: {methods}.\n\n{settings}\n\n{quantizer}\n"
    )


def _configs(name: str, model: str) -> list[RunConfig]:
    preset = PRESETS[name]
    return configurations(name, [model], [1], preset.methods, preset.seeds[:1], {})


def _table(name: str, preset: Preset, columns: dict[str, str]) -> str:
    lines = [
        f"| `--model` | network | {' | '.join(columns)} |",
        f"| --- | --- | {' | '.join('---' for _ in columns)} |",
    ]
    for model, network in preset.models.items():
        quantized = _configs(name, model)[-1]
        words = (_word(getattr(quantized, field), field) for field in columns.values())
        lines.append(f"| {model} | {network} | {' | '.join(words)} |")
    return "\n".join(lines)


def _word(value: Any, field: str = "") -> str:
    if field == "convention":
        return value or "magnitude"
    if value is None or value in (0, ()) or value is False:
        return "–"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _flaws() -> str:
    rows = "\n".join(
        f"| {name} | {flaw.summary} | {', '.join(flaw.notebooks)} |" for name, flaw in FLAWS.items()
    )
    return (
        "## Flaws\n\n`--flaw NAME` replays a flaw, and `qsgd-lab flaws` measures the flaws on the digits. "
        "Each is a mistake in\none or more notebooks of the 2023 report.\n\n"
        "| flaw | what the code does | notebooks |\n| --- | --- | --- |\n"
        f"{rows}\n"
    )


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write docs/presets.md, or check it."""
    text = page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        raise click.ClickException(
            "docs/presets.md is not current; run: python docs/scripts/make_presets_page.py"
        )


if __name__ == "__main__":
    main()
