"""Gradients of N nodes by both engines: ``pytest benchmarks/test_engines.py --benchmark-only``.

The figures behind `qsgd_lab.training.engines.choose.faster_engine`. On a CPU the processor time of one thread
is taken, so that other load does not count; the table of a group shows the engines side by side.
"""

from __future__ import annotations

import time

import pytest
import torch

from qsgd_lab.inputs import Inputs
from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.devices import Precision, prepare
from qsgd_lab.training.engines.choose import make_engine
from qsgd_lab.training.flat_model import FlatModel

NETWORKS = ["alexnet-quarter", "alexnet", "resnet20", "resnet110", "resnet18"]
BATCHES = [32, 128]
NODES = [1, 2, 4, 8]
ROUNDS = 3


def step_of(network, batch, nodes, engine, device="cpu", precision="float32"):
    """Return a function that computes the gradients of one global batch."""
    place = torch.device(device)
    prepare(place)
    module = MODELS[network]()
    initialise(module, 0)
    model = FlatModel(module.train().to(place))
    rows = torch.zeros(nodes, model.num_parameters, device=place)
    chosen = Precision(precision)
    computing = make_engine(
        model, rows, batch, inputs=Inputs((3, 32, 32), 10), engine=engine, precision=chosen
    )
    images = chosen.lay_out(torch.randn(batch, 3, 32, 32, device=place))
    labels = torch.randint(0, 10, (batch,), device=place)

    def step():
        computing.compute(images, labels)
        if place.type == "cuda":
            torch.cuda.synchronize()

    return step


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("engine", ["loop", "batched", "auto"])
@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("network", NETWORKS)
def test_cpu(benchmark, network, batch, nodes, engine):
    """One global batch on one core."""
    benchmark.group = f"{network}, global batch {batch}, N = {nodes}"
    step = step_of(network, batch, nodes, engine)
    benchmark.pedantic(step, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["loop", "batched"])
@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("network", NETWORKS)
def test_cuda(benchmark, network, nodes, engine, precision):
    """One global batch of 128 on a CUDA device; N = 8 is to cost at most 1.3 of N = 1 on resnet110."""
    benchmark.group = f"{network}, CUDA, {precision}, {engine}"
    step = step_of(network, 128, nodes, engine, "cuda", precision)
    benchmark.pedantic(step, rounds=20, warmup_rounds=5)
