"""The choice of the engine that computes the nodes' gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from qsgd_lab.inputs import Inputs
from qsgd_lab.models import blank_input, is_for_own_models, make_model, model_origins
from qsgd_lab.models.dropout import KeyedDropout
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.devices import FLOAT32, Precision
from qsgd_lab.training.engines.batched import NodeBatched, supports
from qsgd_lab.training.engines.convolution import product_is_faster
from qsgd_lab.training.engines.cuda_graph import Engine, StepGraph
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.engines.replicas import ReplicaBatched
from qsgd_lab.training.flat_model import FlatModel

#: Parameters of a network up to which nodes with their own are computed batched.
MAX_BATCHED_REPLICA = 500_000


def make_engine(
    model: FlatModel,
    gradients: torch.Tensor,
    batch_size: int,
    *,
    inputs: Inputs,
    engine: str = "auto",
    accumulate: bool = False,
    precision: Precision = FLOAT32,
    replicas: torch.Tensor | None = None,
) -> Engine:
    """Return the engine of a run.

    Parameters
    ----------
    model : FlatModel
    gradients : torch.Tensor
        float32, shape (N, n), on the model's device.
    batch_size : int
        Images a step at all nodes together.
    inputs : Inputs
        What the model takes.
    engine : {"auto", "loop", "batched"}
    accumulate : bool
        Add to `gradients` instead of overwriting them.
    precision : Precision
    replicas : torch.Tensor, optional
        float32, shape (N, n): parameters of each node, where nodes do not share them.

    Raises
    ------
    ValueError
        If the batched engine is asked for and cannot split the network by node.
    """
    if replicas is not None:
        if engine == "auto":
            engine = faster_replicas(model)
        if engine == "loop":
            return NodeLoop(model, gradients, accumulate=accumulate, precision=precision, replicas=replicas)
        return ReplicaBatched(model, gradients, replicas=replicas, accumulate=accumulate, precision=precision)
    if engine == "auto":
        engine = faster_engine(model, len(gradients), batch_size, gradients.device, inputs)
    if engine == "loop":
        return NodeLoop(model, gradients, accumulate=accumulate, precision=precision)
    batched = NodeBatched(model, gradients, accumulate=accumulate, precision=precision)
    draws = any(isinstance(layer, KeyedDropout) for layer in model.module.modules())
    can_record = gradients.device.type == "cuda" and not draws  # a graph would draw the same numbers again
    return StepGraph(batched) if can_record else batched


def check_engine(engine: str, model: str, inputs: Inputs) -> None:
    """Refuse a network that cannot be trained, before anything runs.

    Parameters
    ----------
    engine : {"auto", "loop", "batched"}
    model : str
        Key of `qsgd_lab.models.MODELS`.
    inputs : Inputs
        Those of the data set.

    Raises
    ------
    ValueError
        If the network does not take the inputs or has other classes, has layers that nothing initialises, or
        the batched engine is asked for and cannot split it by node.
    """
    if model_origins(model) or not is_for_own_models(inputs):
        module = make_model(model, inputs)
        initialise(module, seed=0)
    else:
        with torch.device("meta"):  # shapes alone: no memory, no time
            module = make_model(model, inputs)
    if engine == "batched" and not supports(module):
        raise ValueError(f"the batched engine cannot split {model} by node; use --engine loop or auto")


def faster_engine(model: FlatModel, nodes: int, batch_size: int, device: torch.device, inputs: Inputs) -> str:
    """Return the engine that computes a network faster: "loop" or "batched".

    Parameters
    ----------
    model : FlatModel
    nodes : int
    batch_size : int
        Images a step at all nodes together.
    device : torch.device
    inputs : Inputs
        What the model takes.

    Notes
    -----
    On a CPU the batched engine saves, for each node, the handling of all weights; what it costs is a little
    Python a layer, and with BatchNorm copies: nodes are folded into channels and back. Hence the rule: with
    BatchNorm, batched where N n exceeds twice the values that a batch normalises; without, at every N > 1,
    and at N = 1 where most weights get their gradients as products of matrices (`node_convolution`).

    Measured on one core with AVX-512, torch 2.13: the least processor time of a step by the loop over that by
    the batched engine (``benchmarks/test_engines.py``). A star marks where the rule takes the batched one.

    =============== ===== ====== ====== ====== ======
    network         batch N = 1  N = 2  N = 4  N = 8
    =============== ===== ====== ====== ====== ======
    alexnet         32    1.21 * 1.44 * 1.95 * 2.60 *
    alexnet         128   0.96   1.24 * 1.41 * 1.44 *
    alexnet-quarter 32    0.83   1.08 * 1.55 * 2.16 *
    alexnet-quarter 128   0.87   1.04 * 1.29 * 1.58 *
    resnet20        32    0.91   0.85   0.88   0.98
    resnet20        128   0.97   0.77   0.80   0.72
    resnet110       32    0.89   0.83   0.86   0.98
    resnet110       128   0.92   0.86   0.86   0.89
    resnet18        32    0.99   0.92   1.08 * 1.14 *
    resnet18        128   0.97   0.71   0.72   0.83
    =============== ===== ====== ====== ====== ======

    On CUDA, where nothing has been measured yet, small networks should be bound by launches, of which the
    batched engine makes fewer: batched wherever it can be.
    """
    if not supports(model.module):
        return "loop"
    if device.type == "cuda":
        return "batched"
    work = _work_of(model, nodes, batch_size, inputs)
    if work.normalised:
        pays = nodes * model.num_parameters > 2 * batch_size * work.normalised
    else:
        pays = nodes > 1 or 2 * work.weights_by_product > model.num_parameters
    return "batched" if pays else "loop"


def faster_replicas(model: FlatModel) -> str:
    """Return the engine that is faster where every node has parameters of its own: "loop" or "batched".

    Parameters
    ----------
    model : FlatModel

    Notes
    -----
    Batched, nodes are groups of one convolution and layers of one batched product, which saves calls and
    costs copies between images and channels. Measured as in `faster_engine` at N = 8, loop over batched: the
    perceptron 2.7 and 1.5 (batch 32 and 128), conv28 1.7 and 1.2, alexnet-quarter 1.6 to 1.9 and 1.1; but
    alexnet 0.6, resnet20 0.9 and 0.7, resnet18 0.6. Hence batched up to `MAX_BATCHED_REPLICA` parameters, and
    not with BatchNorm.
    """
    has_batch_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in model.module.modules())
    small = model.num_parameters <= MAX_BATCHED_REPLICA and not has_batch_norm
    return "batched" if small and supports(model.module) else "loop"


@dataclass
class _Work:
    """What of a network decides: values normalised an image, and weights whose gradients are products."""

    normalised: int = 0
    weights_by_product: int = 0


def _work_of(model: FlatModel, nodes: int, batch_size: int, inputs: Inputs) -> _Work:
    """Return a network's work, from the shapes that one image goes through."""
    work = _Work()

    def look(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if isinstance(layer, nn.BatchNorm2d):
            work.normalised += output.numel()
        elif isinstance(layer, nn.Conv2d) and product_is_faster(output.expand(batch_size, -1, -1, -1), nodes):
            work.weights_by_product += layer.weight.numel()

    module = model.module
    was_training = module.training
    hooks = [layer.register_forward_hook(look) for layer in module.modules()]
    try:
        with torch.no_grad():
            module.eval()(blank_input(inputs, model.parameters.device))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return work
