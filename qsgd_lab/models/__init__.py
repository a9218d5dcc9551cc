"""Networks, named so that nobody can mistake them; parameter counts are for 10 classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import nn

from qsgd_lab.models.alexnet import alexnet, alexnet_227, alexnet_batch_norm
from qsgd_lab.models.resnet import cifar_resnet, resnet18, resnet18_224, resnet50, resnet50_224
from qsgd_lab.registry import Origins

#: Name -> constructor; those from outside come last, and may take keywords, see `register_model`.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "alexnet": alexnet,  # 2 472 266 parameters
    "alexnet-quarter": lambda: alexnet(width_divisor=4),  # 159 578 parameters
    "alexnet-quarter-bn-dropout": lambda: alexnet_batch_norm(width_divisor=4),  # 160 154 parameters
    "alexnet-227": alexnet_227,  # 58 325 066 parameters: the 2023 report's
    "resnet20": lambda: cifar_resnet(20),  # 269 722 parameters
    "resnet50-cifar6n2": lambda: cifar_resnet(50),  # 755 802 parameters: not what "ResNet-50" means
    "resnet110": lambda: cifar_resnet(110),  # 1 727 962 parameters
    "resnet18": resnet18,  # 11 173 962 parameters
    "resnet50": resnet50,  # 23 520 842 parameters
    "resnet18-224": resnet18_224,  # 11 181 642 parameters: the ImageNet stem, as in the 2023 report
    "resnet50-224": resnet50_224,  # 23 528 522 parameters
}
#: What the package's own networks are made for: (channels, height, width) of an image, and classes.
_OWN_SHAPE, _OWN_CLASSES = (3, 32, 32), 10
_origins = Origins("model")


def register_model(name: str, constructor: Callable[..., nn.Module], origin: str | None = None) -> None:
    """Add a network from outside the package.

    Parameters
    ----------
    name : str
        In lower case, words joined by ``-``.
    constructor : callable
        Returns the network, which maps images of shape (m, channels, height, width) to (m, classes). If its
        signature has the parameters ``image_shape`` or ``num_classes`` (or ``**kwargs``), it is called with
        them by keyword: (channels, height, width) and the number of classes of the data set. Otherwise it is
        called without arguments, and must suit the data set as it is. Parameters are drawn anew by
        `qsgd_lab.models.initialisation.initialise`, so that a run follows from its seed.
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


def is_for_own_models(image_shape: Sequence[int], num_classes: int) -> bool:
    """Whether images and classes are those that the package's own networks are made for."""
    return (*image_shape, num_classes) == (*_OWN_SHAPE, _OWN_CLASSES)


def make_model(name: str, image_shape: Sequence[int], num_classes: int) -> nn.Module:
    """Return a new network for a data set; its parameters are still to be initialised.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    image_shape : sequence of int
        (channels, height, width).
    num_classes : int

    Raises
    ------
    ValueError
        If there is no such network, its constructor fails, or it does not map an image to so many classes.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    shape = (image_shape[0], image_shape[1], image_shape[2])
    if not _origins.of(name) and is_for_own_models(shape, num_classes):
        return MODELS[name]()
    given = {"image_shape": shape, "num_classes": num_classes}
    try:
        module = MODELS[name](**_accepted(MODELS[name], given))
        outputs = _outputs_for_one_image(module, shape)
    except Exception as error:  # whatever code from outside, or torch on unfit shapes, raises
        reason = str(error).strip().partition("\n")[0]
        images = "x".join(map(str, shape))
        raise ValueError(
            f"model {name!r} cannot take images of {images}: {type(error).__name__}: {reason}"
        ) from error
    if outputs != (1, num_classes):
        raise ValueError(
            f"model {name!r} gives {outputs} for one image of {num_classes} classes; it must give "
            f"{(1, num_classes)}"
        )
    return module


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


def _outputs_for_one_image(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    was_training = module.training
    with torch.no_grad():
        outputs = module.eval()(torch.zeros((1, *shape)))  # evaluation: BatchNorm's averages stay
    module.train(was_training)
    return tuple(outputs.shape)


__all__ = [
    "MODELS",
    "alexnet",
    "alexnet_227",
    "alexnet_batch_norm",
    "cifar_resnet",
    "is_for_own_models",
    "make_model",
    "model_origins",
    "register_model",
    "resnet18",
    "resnet18_224",
    "resnet50",
    "resnet50_224",
]
