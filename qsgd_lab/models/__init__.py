"""Networks by unambiguous names; parameter counts are for 10 classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from qsgd_lab.inputs import Inputs
from qsgd_lab.models.alexnet import alexnet, alexnet_227, alexnet_batch_norm
from qsgd_lab.models.recurrent import LSTMTagger
from qsgd_lab.models.resnet import cifar_resnet, resnet18, resnet18_224, resnet50, resnet50_224
from qsgd_lab.models.small import conv28, mlp
from qsgd_lab.origins import Origins

#: Name -> constructor; those from outside come last, and may take keywords, see `register_model`.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,  # 2 472 266 parameters
    "alexnet-quarter": partial(alexnet, width_divisor=4),  # 159 578 parameters
    "alexnet-quarter-bn-dropout": lambda: alexnet_batch_norm(width_divisor=4),  # 160 154 parameters
    "alexnet-227": alexnet_227,  # 58 325 066 parameters: the 2023 report's
    "resnet20": lambda: cifar_resnet(20),  # 269 722 parameters
    "resnet50-cifar6n2": lambda: cifar_resnet(50),  # 755 802 parameters: not what "ResNet-50" means
    "resnet110": lambda: cifar_resnet(110),  # 1 727 962 parameters
    "resnet18": resnet18,  # 11 173 962 parameters
    "resnet50": resnet50,  # 23 520 842 parameters
    "resnet18-224": resnet18_224,  # 11 181 642 parameters: the ImageNet stem, as in the 2023 report
    "resnet50-224": resnet50_224,  # 23 528 522 parameters
    "conv28": conv28,  # 98 442 parameters for images of 1x28x28
    "mlp": mlp,  # 128 (d + 1) + 129 classes parameters for vectors of length d
    "lstm-128": LSTMTagger,  # 101 513 parameters for 16 symbols and 9 classes
}
#: What most of the package's own networks are made for.
_OWN_INPUTS = Inputs((3, 32, 32), 10)
_origins = Origins("model")


def register_model(name: str, constructor: Callable[..., nn.Module], origin: str | None = None) -> None:
    """Add a network from outside the package.

    Parameters
    ----------
    name : str
        In lower case, words joined by ``-``.
    constructor : callable
        Returns the network, which maps images of shape (m, channels, height, width) to (m, classes), or
        sequences of shape (m, places) to (m, classes, places). If its signature has the parameters
        ``image_shape``, ``num_classes`` or, for sequences, ``num_symbols`` (or ``**kwargs``), it is called
        with them by keyword: the shape of an input, the numbers of classes and of symbols of the data set.
        Otherwise it is called without arguments, and must suit the data set as it is. Parameters are drawn
        again by `qsgd_lab.models.initialisation.initialise`, so that a run follows from its seed.
    origin : str, optional
        What its code is. While a plug-in is loaded this is known; elsewhere it is "unknown".

    Raises
    ------
    ValueError
        If the name is malformed or taken, or the constructor cannot be called.
    """
    if not callable(constructor):
        raise ValueError(f"the constructor of model {name!r} is {constructor!r}; it must be callable")
    _origins.claim(name, MODELS, origin)
    MODELS[name] = constructor


def model_origins(name: str) -> tuple[str, ...]:
    """Return ``name=origin`` of a network from outside; nothing for the package's own."""
    return _origins.of(name)


def is_for_own_models(inputs: Inputs) -> bool:
    """Whether inputs are those that most of the package's own networks are made for."""
    return inputs == _OWN_INPUTS


def make_model(name: str, inputs: Inputs) -> nn.Module:
    """Return a new network for a data set; its parameters are still to be initialised.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    inputs : Inputs
        What the network is given, and what it is to give.

    Raises
    ------
    ValueError
        If there is no such network, its constructor fails, or it does not map an input to so many classes.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    given: dict[str, object] = {"image_shape": inputs.shape, "num_classes": inputs.num_classes}
    if inputs.num_symbols:
        given["num_symbols"] = inputs.num_symbols
    try:
        module = MODELS[name](**_accepted(MODELS[name], given))
        if not _origins.of(name) and is_for_own_models(inputs):
            return module  # known to fit: no time, and on the meta device no memory, for a trial
        outputs = _outputs_for_one_input(module, inputs)
    except Exception as error:  # whatever code from outside, or torch on unfit shapes, raises
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"model {name!r} cannot take {inputs}: {type(error).__name__}: {reason}") from error
    if outputs != (1, *inputs.output_shape):
        raise ValueError(
            f"model {name!r} gives {outputs} for one input of {inputs.num_classes} classes; it must give "
            f"{(1, *inputs.output_shape)}"
        )
    return module


def blank_input(inputs: Inputs, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return a batch of one input of zeros, to send through a network."""
    dtype = torch.int64 if inputs.num_symbols else torch.float32
    return torch.zeros((1, *inputs.shape), dtype=dtype, device=device)


def _accepted(constructor: Callable[..., nn.Module], given: dict[str, object]) -> dict[str, object]:
    """Return those keywords that a constructor's signature has."""
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except (TypeError, ValueError):  # a callable without a signature
        return {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return given
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in given.items() if name in names}


def _outputs_for_one_input(module: nn.Module, inputs: Inputs) -> tuple[int, ...]:
    was_training = module.training
    with torch.no_grad():
        outputs = module.eval()(blank_input(inputs))  # evaluation: BatchNorm's averages stay
    module.train(was_training)
    return tuple(outputs.shape)


__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_227",
    "alexnet_batch_norm",
    "blank_input",
    "cifar_resnet",
    "conv28",
    "is_for_own_models",
    "make_model",
    "model_origins",
    "register_model",
    "resnet18",
    "resnet18_224",
    "resnet50",
    "resnet50_224",
]
