"""What ranks run in tests: each function is called on every rank of a group."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import torch.distributed as dist

_LANES = {}


def lane():
    """Return the lane of this process; one serves all cases."""
    from qsgd_lab.distributed.lane import Lane

    if "lane" not in _LANES:
        _LANES["lane"] = Lane(60.0)  # under load, the first imports of a rank take long
    return _LANES["lane"]


def close_lane():
    """Forget the lane, before its group ends."""
    if "lane" in _LANES:
        _LANES.pop("lane").close()


def gathered(lengths):
    """Gather bytes of this rank's length, and return what came."""
    rank = dist.get_rank()
    data = (np.arange(lengths[rank]) * (rank + 1)).astype(np.uint8)
    return [bytes(part) for part in lane().gather(data)]


def exchanged(text, steps, shapes, seed, two_phase=False):
    """Return the means, this rank's state, and the traffic of all ranks, after some steps."""
    from qsgd_lab.compressors.protocol import Layout
    from qsgd_lab.compressors.registry import COMPRESSORS
    from qsgd_lab.distributed.exchange import DistributedExchange
    from qsgd_lab.distributed.two_phase import DistributedTwoPhase

    layout = Layout(shapes)
    kind = DistributedTwoPhase if two_phase else DistributedExchange
    exchange = kind(COMPRESSORS.parse(text).make(), 7, layout, lane())
    means = []
    for step in range(steps):
        out = np.empty(layout.num_coordinates, np.float32)
        exchange.mean(gradients(seed, step, exchange.nodes, layout)[exchange.rank][None], step, out)
        means.append(out)
    return means, exchange.arrays(), exchange.total_traffic().to_dict()


def numbers(rank, size):
    """Return a rank's numbers, of magnitudes that make the order of a sum show."""
    rng = np.random.default_rng(rank)
    return (rng.normal(size=size) * 10.0 ** rng.integers(-3, 4, size)).astype(np.float32)


def added_up(size, network=None):
    """Return the sum of all ranks' numbers, on a network of these costs, and the bytes sent."""
    from qsgd_lab.theory.collectives import Network

    own = lane()
    before, own.network = own.bytes_sent, network and Network(*network)
    try:
        total = own.add_up(numbers(dist.get_rank(), size))
    finally:
        own.network = None
    return total, own.bytes_sent - before


def measured():
    """Return latency and bandwidth as this rank has them, and the bytes that were counted."""
    own = lane()
    before = own.bytes_sent
    own.measure()
    network, own.network = own.network, None
    return network.latency, network.bandwidth, own.bytes_sent - before


def gradients(seed, step, nodes, layout):
    """Return the nodes' gradients of a step, float32, shape (N, n)."""
    rng = np.random.default_rng([seed, step])
    return rng.normal(size=(nodes, layout.num_coordinates)).astype(np.float32)


def shaken(facts):
    """Shake hands with this rank's facts."""
    from qsgd_lab.distributed.handshake import shake_hands

    shake_hands(lane(), facts)


def damaged(which):
    """Exchange where one rank sends a damaged message."""
    from qsgd_lab.compressors.protocol import Layout
    from qsgd_lab.compressors.registry import COMPRESSORS
    from qsgd_lab.distributed.exchange import DistributedExchange

    exchange = DistributedExchange(COMPRESSORS.parse("qsgd(bits=2)").make(), 7, Layout.of(1000), lane())
    if exchange.rank == which:
        wire = exchange.compressor.wire
        whole = wire.pack

        class Damaging(type(wire)):
            def pack(self, payload):
                message = bytearray(whole(payload))
                message[len(message) // 2] ^= 1
                return bytes(message)

        type(exchange.compressor).wire = property(lambda _: Damaging())
    exchange.mean(np.ones((1, 1000), np.float32), 0, np.empty(1000, np.float32))


def lost(which, how):
    """Gather where one rank ends, or never comes."""
    import time

    if dist.get_rank() == which:
        if how == "ends":
            os._exit(17)
        time.sleep(3600)
    start = time.monotonic()
    try:
        lane().gather(np.zeros(10, np.uint8))
    finally:
        _LANES["seconds"] = time.monotonic() - start


def seconds():
    """Return how long the last failure took."""
    return _LANES["seconds"]


def digest(array):
    """Return a digest of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def make_lane(timeout_s):
    """Make a lane with another timeout."""
    from qsgd_lab.distributed.lane import Lane

    _LANES["lane"] = Lane(timeout_s)


def make_network(kind="plain"):
    """Return a small network with parameters that follow from nothing but its name."""
    import torch
    from torch import nn

    torch.manual_seed(3)
    if kind == "unused":

        class Half(nn.Module):
            """Uses its second layer at odd steps alone."""

            def __init__(self):
                super().__init__()
                self.first, self.second, self.last = nn.Linear(12, 40), nn.Linear(12, 40), nn.Linear(40, 5)
                self.step = 0

            def forward(self, x):
                layer = self.second if self.step % 2 else self.first
                return self.last(torch.relu(layer(x)))

        return Half()
    if kind == "narrow":
        return nn.Sequential(*(nn.Linear(12, 12) for _ in range(6)), nn.Linear(12, 5))
    if kind == "normalised":  # of each example: statistics of a batch would differ from rank to rank
        return nn.Sequential(nn.Linear(12, 50), nn.LayerNorm(50), nn.ReLU(), nn.Linear(50, 5))
    if kind == "convolution":
        return nn.Sequential(nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 30, 2), nn.Flatten(), nn.Linear(30, 5))
    return nn.Sequential(nn.Linear(12, 50), nn.ReLU(), nn.Linear(50, 60), nn.ReLU(), nn.Linear(60, 5))


def batch_of(step, rank):
    """Return inputs and labels of one rank's share."""
    import torch

    draw = torch.Generator().manual_seed(100 * step + rank)
    return torch.randn(16, 12, generator=draw), torch.randint(0, 5, (16,), generator=draw)


def trained(kind, steps, options, ddp_options, extra=None):
    """Train under DDP with the hook; return parameters, residual and statistics."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    extra = extra or {}
    network = make_network(kind)
    if extra.get("dtype"):
        network = network.to(getattr(torch, extra["dtype"]))
    rank = dist.get_rank()
    ddp = DistributedDataParallel(network, **ddp_options)
    model = torch.compile(ddp, backend="aot_eager") if extra.get("compile") else ddp
    hook = QSGDHook(**options).register(ddp)
    if "state" in extra:
        hook.load_state_dict(extra["state"][rank])
        network.load_state_dict(extra["network"])
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    if "late" in extra:
        for number, parameter in enumerate(network.parameters()):
            parameter.register_hook(lambda gradient, number=number: _late(gradient, number, rank))
    first = extra.get("first", 0)
    micro = extra.get("micro", 1)
    for step in range(first, first + steps):
        network.step = step
        optimizer.zero_grad(set_to_none=True)
        for piece in range(micro):
            inputs, labels = batch_of(step * micro + piece, rank)
            if step == extra.get("nan_step") and rank == 1:
                inputs = inputs * float("inf")
            inputs = inputs.to(next(network.parameters()).dtype)
            context = ddp.no_sync() if piece < micro - 1 else _nothing()
            with context:
                torch.nn.functional.cross_entropy(model(inputs).float(), labels).backward()
        finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())
        if finite:
            optimizer.step()
    hook.check()
    hook.close()
    flat = torch.cat([p.detach().float().reshape(-1) for p in network.parameters()]).numpy()
    state = hook.state_dict()
    whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return flat, state, tuple(hook.statistics()), whole


def _late(gradient, number, rank):
    """Return a gradient after some work, of an amount that differs between ranks and steps."""
    draw = np.random.default_rng([number, rank, int(gradient.abs().sum() * 1e6)])
    for _ in range(draw.integers(0, 60)):
        np.sort(draw.normal(size=10_000))
    return gradient


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def hook_settings_differ():
    """Register a hook whose bits depend on the rank."""
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    QSGDHook(2 + dist.get_rank()).register(DistributedDataParallel(make_network()))


def run_cell(fields, folder, stop_at=None):
    """Train one configuration on the ranks; return the record's result, epochs and status."""
    from pathlib import Path

    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.record import Interrupted
    from qsgd_lab.training.ranks import run_on_ranks

    asked = [0]

    def should_stop():
        asked[0] += 1
        return stop_at is not None and asked[0] > stop_at

    try:
        outcome = run_on_ranks(
            RunConfig.from_dict(fields),
            lane(),
            checkpoint=Path(folder) / "checkpoint.npz",
            should_stop=should_stop,
            progress=lambda *_: None,
        )
    except Interrupted:
        return "interrupted"
    return outcome.status, dict(outcome.result), outcome.epochs


def algorithm_cases():
    """Return (algorithm, compressor) of every algorithm: the first compressor that it takes."""
    from qsgd_lab.algorithms.registry import ALGORITHMS
    from qsgd_lab.compressors.registry import COMPRESSORS

    cases = []
    for name in sorted(ALGORITHMS.methods().keys() - {"qsvrg"}):  # it asks a problem for full gradients
        for text in ("qsgd(bits=4,norm=max,bucket_size=64)", "top-k(fraction=0.1)", "fp32"):
            try:
                ALGORITHMS.parse(name).make().check_compressor(COMPRESSORS.parse(text).make())
            except ValueError:
                continue
            cases.append((name, text))
            break
    return cases


def run_algorithm(name, text, exchange_of, rows_of):
    """Take 9 steps of an algorithm on gradients that depend on its parameters; return the consensus."""
    import torch

    from qsgd_lab.algorithms.protocol import Hyperparameters
    from qsgd_lab.algorithms.registry import ALGORITHMS
    from qsgd_lab.compressors.protocol import Layout
    from qsgd_lab.compressors.registry import COMPRESSORS

    layout = Layout(((20, 10), (7,)))
    algorithm = ALGORITHMS.parse(name).make()
    exchange = exchange_of(COMPRESSORS.parse(text).make(), layout)
    first = torch.linspace(-1, 1, layout.num_coordinates)
    parameters = first.repeat(len(exchange.local), 1) if algorithm.replicas else first.clone()
    algorithm.begin(parameters, exchange, Hyperparameters(0.1, 0.9, 0.01, nesterov=False, num_steps=9))
    for step in range(9):
        noise = torch.from_numpy(rows_of(gradients(5, step, exchange.nodes, layout)))
        found = 0.3 * parameters + noise
        if algorithm.gradient_buffer is not None:
            algorithm.gradient_buffer[...] += found.numpy()
        algorithm.step(found, step, 0.1)
    return algorithm.consensus().numpy().copy()


def algorithms_on_ranks(cases):
    """Return the consensus of every case, on this rank."""
    from qsgd_lab.distributed.exchange import DistributedExchange

    rank = dist.get_rank()
    return [
        run_algorithm(
            name,
            text,
            lambda compressor, layout: DistributedExchange(compressor, 7, layout, lane()),
            lambda rows: rows[rank : rank + 1],
        )
        for name, text in cases
    ]


def sharded(steps, options):
    """Train under FSDP2; return what went in and came out at each step, and the state."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from qsgd_lab.distributed.fsdp import QuantizedReduceScatter

    seen = []

    class Recording(QuantizedReduceScatter):
        def __call__(self, output_tensor, input_tensor, group, op, async_op=False):
            before = input_tensor.clone()
            super().__call__(output_tensor, input_tensor, group, op, async_op)
            seen.append((before.numpy(), output_tensor.clone().numpy()))

    network = make_network()
    fully_shard(network, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    reduce_scatter = Recording(**options)
    network.set_custom_reduce_scatter(reduce_scatter)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(steps):
        inputs, labels = batch_of(step, dist.get_rank())
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    state = reduce_scatter.state_dict()
    reduce_scatter.load_state_dict(state)
    reduce_scatter.close()
    return seen, state, reduce_scatter.bytes_sent


def trained_by_each(options, steps):
    """Return the parameters after some steps with each of the hook's options, in one bucket."""
    return [trained("plain", steps, each, {})[0] for each in options]


def reproduced(fields, folder, looks=None):
    """Run one cell as `reproduce` does, until the clock was looked at so often; return the exit code."""
    from itertools import count
    from pathlib import Path
    from types import SimpleNamespace

    from qsgd_lab.cli.sweep import ranks
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.store import RunStore

    clock, ranks.time = ranks.time, SimpleNamespace(monotonic=count().__next__)
    try:
        return ranks._run(RunConfig.from_dict(fields), RunStore(Path(folder)), lane(), looks)
    finally:
        ranks.time = clock
