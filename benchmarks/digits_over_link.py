"""One rank that trains a small AlexNet on the digits until 95 % of the validation images are right.

python benchmarks/digits_over_link.py SETTINGS.json RANK     started by link_bars.py, once for each link
"""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from qsgd_lab.data import Dataset, load_dataset
from qsgd_lab.link_lab.measurement import end_with_starter
from qsgd_lab.link_lab.worker import Method
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.evaluation import accuracy

TARGET, MOST_EPOCHS = 0.95, 15
BATCH, RATE, MOMENTUM, DECAY = 32, 0.03, 0.9, 5e-4
MODEL = {"model": "alexnet-quarter", "dataset": "digits"}


def trained(name: str, seed: int, digits: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    """Train by one method; the clock runs in steps alone, and is that of the slowest rank."""
    rank, nodes = dist.get_rank(), dist.get_world_size()
    method = Method(name, {**settings, **MODEL})
    initialise(method.ddp.module, seed)
    parameters = method.ddp.module.parameters()
    method.optimizer = torch.optim.SGD(parameters, RATE, momentum=MOMENTUM, weight_decay=DECAY)
    draw = torch.Generator().manual_seed(seed)
    seconds, steps, reached, epochs = 0.0, 0, False, 0
    while epochs < MOST_EPOCHS and not reached:
        order = torch.randperm(len(digits.train), generator=draw)
        dist.barrier()
        start = time.perf_counter()
        for batch in order.split(BATCH)[: len(order) // BATCH]:
            method.step(*digits.train.batch(batch[rank::nodes]))
            steps += 1
        spent = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
        dist.all_reduce(spent, op=dist.ReduceOp.MAX)
        seconds, epochs = seconds + float(spent), epochs + 1
        reached = accuracy(method.ddp.module, digits.validation) >= TARGET
    if method.hook is not None:
        method.hook.check()
        method.hook.close()
    return {
        "method": name,
        "seed": seed,
        "seconds": seconds,
        "steps": steps,
        "epochs": epochs,
        "reached": reached,
    }


def main(path: Path, rank: int) -> None:
    """Train every seed by every method in turn, and write the rank's result beside the settings."""
    end_with_starter()
    settings = json.loads(path.read_text())
    torch.set_num_threads(1)
    store = dist.FileStore(str(path.with_name("store")), settings["nodes"])
    timeout = timedelta(seconds=settings["timeout_s"])
    dist.init_process_group("gloo", store=store, rank=rank, world_size=settings["nodes"], timeout=timeout)
    digits = load_dataset("digits")
    for name in settings["methods"]:  # compiles, off the clock
        warm = Method(name, {**settings, **MODEL})
        warm.step(*digits.train.batch(torch.arange(BATCH // settings["nodes"])))
        if warm.hook is not None:
            warm.hook.close()
    runs = [
        trained(name, seed, digits, settings)
        for seed in range(settings["seeds"])
        for name in settings["methods"]
    ]
    path.with_name(f"rank{rank}.json").write_text(json.dumps({"runs": runs}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
