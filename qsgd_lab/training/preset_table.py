"""The presets: what each protocol trains, with which settings, and the methods that it compares.

The settings of networks on CIFAR-10 come from the works that trained them; docs/presets.md lists all, with
sources, and is written from this table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qsgd_lab.runs.config import FULL_PRECISION_BITS
from qsgd_lab.training.flaws import flaws_of


class Method(NamedTuple):
    """How gradients are sent: magnitude bits (32 is fp32), rounding, error feedback."""

    bits: int
    rounding: str = "stochastic"
    error_feedback: bool = True


FP32 = Method(FULL_PRECISION_BITS)


#: Networks of which a run's key has the version: to be raised when the network changes under its name.
MODEL_VERSIONS = {"conv28": 1, "lstm-128": 1, "mlp": 1}


@dataclass(frozen=True)
class Preset:
    """A protocol that `qsgd-lab reproduce --preset NAME` runs.

    Attributes
    ----------
    title : str
        One line for help and plans.
    dataset : str
        Key of `qsgd_lab.data.DATASETS`.
    models : dict of str to str
        The name users give -> key of `qsgd_lab.models.MODELS`; a preset may train a narrower network.
    settings : dict
        The remaining fields of `RunConfig`: hyper-parameters, norm and buckets.
    methods : tuple of Method
    bits : tuple of int
        Those of a grid that names rounding or error feedback but no bits.
    seeds : tuple of int
        A table tests nothing below five; the presets that take days have three.
    margin : float
        How near to each other two accuracies count as alike in the tables of this preset, in percentage
        points; fixed before its runs. It is not part of a run.
    model_settings : dict of str to dict
        For a model, by the name users give: settings that replace those of all.
    """

    title: str
    dataset: str
    models: dict[str, str]
    settings: dict[str, Any]
    methods: tuple[Method, ...]
    bits: tuple[int, ...] = (8, 4, 2)
    seeds: tuple[int, ...] = (0, 1, 2)
    margin: float = 0.5
    model_settings: dict[str, dict[str, Any]] = field(default_factory=dict)


_REPORT_METHODS = (
    FP32,
    Method(8),
    Method(4),
    Method(2),
    Method(2, "stochastic", False),
    Method(2, "nearest", False),
    Method(2, "nearest", True),
)

_DIGITS = {
    # One scale for the whole gradient and no BatchNorm: layers with small gradients starve, which tells
    # methods apart.
    "norm": "max",
    "bucket_size": "model",
    "epochs": 8,
    "global_batch": 32,
    "learning_rate": 0.03,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup": 0.1,
    "target_accuracy": 0.95,
}

#: Chosen on validation accuracy.
_BRACKETS = {
    "norm": "max",
    "bucket_size": "model",
    "epochs": 2,
    "global_batch": 32,
    "learning_rate": 0.5,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup": 0.1,
    "target_accuracy": 0.99,
}

_FASHION = {
    "norm": "max",
    "bucket_size": "model",
    "epochs": 5,
    "global_batch": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup": 0.1,
    "target_accuracy": 0.9,
}

_OWN = {
    "norm": "max",
    "bucket_size": "model",
    "epochs": 10,
    "global_batch": 32,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup": 0.1,
    "target_accuracy": 0.9,
}

_CIFAR10 = {
    "norm": "max",
    "bucket_size": 512,
    "global_batch": 128,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "augmentation": "crop-flip",
}

#: The draft's three networks, and others that are cheaper.
_NETWORKS = {
    name: name for name in ("alexnet", "resnet50", "resnet110", "resnet18", "resnet20", "resnet50-cifar6n2")
}

#: The published report's networks: images enlarged to what ImageNet's shapes want.
_REPORT_NETWORKS = {"alexnet": "alexnet-227", "resnet50": "resnet50-224", "resnet18": "resnet18-224"}

_REPORT = {
    "norm": "max",
    "bucket_size": "tensor",
    "momentum": 0.9,
    "warmup": 0.0,
    "schedule": "constant",
    "target_accuracy": 0.8,
}
_REPORT_SETTINGS = {
    "alexnet": {"epochs": 30, "learning_rate": 0.005, "weight_decay": 5e-3},
    "resnet50": {"epochs": 20, "learning_rate": 0.01, "weight_decay": 1e-3},
    "resnet18": {"epochs": 40, "learning_rate": 0.01, "weight_decay": 1e-3},
}

#: Name -> preset; the first is the default.
PRESETS: dict[str, Preset] = {
    "demo": Preset(
        "a quarter-width AlexNet without BatchNorm on the embedded digits: minutes on a laptop",
        "digits",
        {"alexnet": "alexnet-quarter"},
        _DIGITS,
        _REPORT_METHODS,
        seeds=(0, 1, 2, 3, 4),
    ),
    "digits-full": Preset(
        "networks at full width on the embedded digits: several times the demo's cost",
        "digits",
        {"alexnet": "alexnet", "resnet20": "resnet20", "resnet110": "resnet110"},
        {**_DIGITS, "learning_rate": 0.01},
        _REPORT_METHODS,
        seeds=(0, 1, 2, 3, 4),
    ),
    "digits-report": Preset(
        "the corrected protocol on the digits, two small AlexNets: what `flaws` starts from",
        "digits",
        {"alexnet": "alexnet-quarter", "alexnet-bn": "alexnet-quarter-bn-dropout"},
        _DIGITS,
        _REPORT_METHODS,
        seeds=(0, 1, 2, 3, 4),
    ),
    "brackets": Preset(
        "an LSTM on a generated language whose optimum is 100 %: 8 to 16 CPU seconds a run",
        "brackets",
        {"lstm": "lstm-128"},
        _BRACKETS,
        (*_REPORT_METHODS, Method(1), Method(1, "stochastic", False)),
        seeds=(0, 1, 2, 3, 4),
    ),
    "fashion": Preset(
        "a small convolutional network on Fashion-MNIST: half a CPU minute a run",
        "fashion-mnist",
        {"conv28": "conv28", "alexnet": "alexnet"},
        _FASHION,
        _REPORT_METHODS,
        seeds=tuple(range(10)),
        model_settings={"alexnet": {"learning_rate": 0.05}},
    ),
    "own": Preset(
        "your own data set (--data FILE.npz, --dataset NAME): one hidden layer, or convolutions",
        "digits",
        {"mlp": "mlp", "conv28": "conv28", "alexnet": "alexnet"},
        _OWN,
        _REPORT_METHODS,
    ),
    "quick": Preset(
        "CIFAR-10 in few epochs: crops and flips, Nesterov momentum, a rate that falls to zero",
        "cifar10",
        _NETWORKS,
        {
            **_CIFAR10,
            "learning_rate": 0.1,
            "nesterov": True,
            "warmup": 0.05,
            "epochs": 15,
            "target_accuracy": 0.85,
        },
        _REPORT_METHODS,
        model_settings={
            "alexnet": {"learning_rate": 0.02, "target_accuracy": 0.7},
            "resnet50": {"epochs": 10},
            "resnet110": {"epochs": 30},
        },
    ),
    "report": Preset(
        "CIFAR-10 by the report's protocol, corrected: equal batches, the test set read once",
        "cifar10",
        {**_REPORT_NETWORKS, "resnet110": "resnet110", "alexnet-32": "alexnet", "resnet50-32": "resnet50"},
        {**_REPORT, "global_batch": 128, "learning_rate": 0.01, "weight_decay": 1e-3, "epochs": 30},
        _REPORT_METHODS,
        model_settings={
            **_REPORT_SETTINGS,
            # The report's rate and decay are for networks with BatchNorm.
            "alexnet-32": {"learning_rate": 0.01, "weight_decay": 5e-4, "target_accuracy": 0.7},
        },
    ),
    "report-2023": Preset(
        "CIFAR-10 by the published report's protocol with its flaws, for comparison with `report`",
        "cifar10",
        _REPORT_NETWORKS,
        {**_REPORT, "global_batch": 128, "convention": "power-of-two", "raw_tensors_up_to": 1000},
        (FP32, Method(8), Method(4), Method(2), Method(2, "nearest", True)),
        model_settings={
            "alexnet": {
                **_REPORT_SETTINGS["alexnet"],
                "global_batch": 64,
                # Its biased levels are 0..2^b - 1: s + 1 of them, scaled by s + 1.
                "convention": None,
                "raw_tensors_up_to": 0,
                "flaws": flaws_of("AlexNet"),
            },
            "resnet50": {**_REPORT_SETTINGS["resnet50"], "flaws": flaws_of("ResNet50")},
            "resnet18": {**_REPORT_SETTINGS["resnet18"], "flaws": flaws_of("ResNet18")},
        },
    ),
    "full": Preset(
        "CIFAR-10 by the schedules of the literature: hundreds of epochs",
        "cifar10",
        _NETWORKS,
        {
            **_CIFAR10,
            "learning_rate": 0.1,
            "schedule": "steps",
            "warmup": 0.0,
            "epochs": 182,
            "target_accuracy": 0.9,
        },
        _REPORT_METHODS,
        model_settings={
            "alexnet": {"epochs": 164, "learning_rate": 0.01, "target_accuracy": 0.75},
            "resnet50": {"epochs": 350},
            "resnet18": {"epochs": 350},
            "resnet20": {"weight_decay": 1e-4},
            "resnet50-cifar6n2": {"weight_decay": 1e-4},
            # 400 of 64 000 steps below the full rate, without which so deep a network may not start.
            "resnet110": {"weight_decay": 1e-4, "warmup": 0.00625},
        },
    ),
}
