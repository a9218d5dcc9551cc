"""One rank of a measurement: trains a network under DDP, each step by the next method, and times it.

python -m qsgd_lab.link_lab.worker SETTINGS.json RANK
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab.coding.encode import encode
from qsgd_lab.data.registry import dataset_entry
from qsgd_lab.distributed.hook import QSGDHook
from qsgd_lab.link_lab.measurement import end_with_starter
from qsgd_lab.models import make_model
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.quantization import quantize

#: Steps of each method before the first that is timed: DDP rebuilds its buckets, PowerSGD begins.
WARM_UP = 4
#: What torch's documentation of PowerSGD asks for: steps in float32 first; fewer here, nothing is trained.
_POWERSGD_START = 2
_CLASSES = 10
#: What is left of a step without exchange: DDP still fills its buckets.
NOTHING = "nothing"


class Method:
    """A network of its own under DDP, with one way to exchange gradients."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name = name
        module = make_model(settings["model"], dataset_entry(settings["dataset"]).inputs)
        initialise(module, 0)
        self.hook: QSGDHook | None = None
        # PowerSGD starts a second all-reduce from a callback; with several buckets gloo aborts.
        most = 1 << 14 if name == "powersgd" else None
        self.ddp = DistributedDataParallel(
            module, broadcast_buffers=False, bucket_cap_mb=most, gradient_as_bucket_view=True
        )
        if name == NOTHING:
            self.ddp.register_comm_hook(None, _exchange_nothing)
        elif name == "fp16":
            self.ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
        elif name == "powersgd":
            state = powerSGD_hook.PowerSGDState(
                None, matrix_approximation_rank=2, start_powerSGD_iter=_POWERSGD_START
            )
            self.ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
        elif name != "fp32":
            bits, collective, layout = parts_of(name)
            hook = QSGDHook(bits, collective=collective, layout=layout, timeout_s=settings["timeout_s"])
            self.hook = hook.register(self.ddp)
        self.optimizer = torch.optim.SGD(module.parameters(), 1e-3)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take a step."""
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.ddp(images), labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def is_equal_everywhere(self) -> bool:
        """Whether all ranks have the same parameters."""
        flat = torch.cat([p.detach().reshape(-1) for p in self.ddp.parameters()])
        low, high = flat.clone(), flat.clone()
        dist.all_reduce(low, op=dist.ReduceOp.MIN)
        dist.all_reduce(high, op=dist.ReduceOp.MAX)
        return bool(torch.equal(low, high))


def _exchange_nothing(_state, bucket):  # type: ignore[no-untyped-def]  # DDP compares annotations with classes
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def sent_bytes(interface: str) -> int:
    """Return the interface's counter of bytes that have left."""
    return int(Path(f"/sys/class/net/{interface}/statistics/tx_bytes").read_text())


def timed(method: Method, batch: tuple[torch.Tensor, torch.Tensor], interface: str) -> list[float | None]:
    """Return seconds of a step on the slowest rank, of processor on this one, and bytes that left.

    The bytes are those of the interface's counter, and those that the hook has counted, if it is the lab's.
    """
    dist.barrier()
    counted = 0 if method.hook is None else method.hook.bytes_sent
    bytes_before, processor, start = sent_bytes(interface), time.process_time(), time.perf_counter()
    method.step(*batch)
    seconds = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
    used = time.process_time() - processor
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    # After it all ranks have received what was sent; before it a shaped link may still hold some.
    sent = sent_bytes(interface) - bytes_before
    own = None if method.hook is None else method.hook.bytes_sent - counted
    return [float(seconds), used, sent, own]


def latency_seconds() -> float:
    """Return the least time of an all-reduce of one number, by its rounds."""
    one, found = torch.zeros(1), []
    for _ in range(20):
        start = time.perf_counter()
        dist.all_reduce(one)
        found.append(time.perf_counter() - start)
    return min(found) / (2 * (dist.get_world_size() - 1))


def parts_of(name: str) -> tuple[int, str, str]:
    """Return bits, collective and layout of a method such as ``2:two-phase`` or ``2:two-phase:ranged``."""
    bits, collective, *rest = name.split(":")
    return int(bits), collective, rest[0] if rest else "fixed"


def message_bytes(name: str, gradient: NDArray[np.float32]) -> int:
    """Return the length of one message of a gradient."""
    bits, _, layout = parts_of(name)
    return len(encode(quantize(gradient, bits=bits, norm="max"), layout=layout, effort=0))


def measure(settings: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return what this rank has measured."""
    interface = settings["interfaces"][rank]
    entry = dataset_entry(settings["dataset"])
    draw = torch.Generator().manual_seed(rank)
    images = torch.randn(settings["batch"], *entry.inputs.shape, generator=draw)
    batch = images, torch.randint(0, _CLASSES, (settings["batch"],), generator=draw)
    methods = [Method(name, settings) for name in (*settings["methods"], NOTHING)]
    for method in methods:
        for _ in range(WARM_UP):
            method.step(*batch)
    steps: dict[str, list[list[float | None]]] = {method.name: [] for method in methods}
    for _ in range(settings["steps"]):
        for method in methods:  # one after the other, so that a change of load meets all
            steps[method.name].append(timed(method, batch, interface))
    equal = {method.name: method.is_equal_everywhere() for method in methods}
    gradients = [p.grad.reshape(-1) for p in methods[0].ddp.parameters() if p.grad is not None]
    gradient = torch.cat(gradients).numpy()
    compute, processor, *_ = zip(*steps.pop(NOTHING), strict=True)
    found = {
        "parameters": gradient.size,
        "compute_s": float(np.median(compute)),
        "compute_processor_s": float(np.median(processor)),
        "latency_s": latency_seconds(),
        "message_bytes": {name: message_bytes(name, gradient) for name in settings["methods"] if ":" in name},
        "steps": steps,
        "equal": equal,
    }
    for method in methods:
        if method.hook is not None:
            method.hook.check()
            method.hook.close()
    return found


def main(arguments: list[str]) -> None:
    """Measure, and write the rank's result beside the settings."""
    end_with_starter()
    path, rank = Path(arguments[0]), int(arguments[1])
    settings = json.loads(path.read_text())
    torch.set_num_threads(1)
    store = dist.FileStore(str(path.with_name("store")), settings["nodes"])  # type: ignore[attr-defined]
    dist.init_process_group(
        "gloo",
        store=store,
        rank=rank,
        world_size=settings["nodes"],
        timeout=timedelta(seconds=settings["timeout_s"]),
    )
    result = measure(settings, rank)
    dist.barrier()
    path.with_name(f"rank{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
