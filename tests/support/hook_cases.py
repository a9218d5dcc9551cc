"""The hook on ranks of which one is in trouble."""

from __future__ import annotations

import os

import rank_cases
import torch.distributed as dist
from rank_cases import batch_of, make_network, trained


def hook_in_trouble(which, how, timeout_s):
    """Train under DDP with several buckets, until one rank is in trouble in the middle of a backward pass.

    Returns the seconds that the pass took, and what `check` and `close` say.
    """
    import time

    import torch
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed import bucket_messages
    from qsgd_lab.distributed.hook import QSGDHook

    rank = dist.get_rank()
    network = make_network()
    ddp = DistributedDataParallel(network, bucket_cap_mb=0.005)
    hook = QSGDHook(2, raw_up_to=0, timeout_s=timeout_s).register(ddp)
    whole, parameters, armed = bucket_messages.joined, list(network.parameters()), [False]

    def trouble(gradient):
        """Come between the first bucket and the last one."""
        if armed[0] and how == "raises":
            raise ValueError("a layer fails")
        if armed[0] and rank == which and how == "ends":
            os._exit(17)
        if armed[0] and rank == which and how == "hangs":
            time.sleep(3600)
        return gradient

    def damaged(parts):
        data = whole(parts)
        data[data.size // 2] ^= 1
        return data

    parameters[2].register_hook(trouble)
    if how == "damages" and rank == which:
        from qsgd_lab.distributed import bucket_exchange

        bucket_exchange.joined = damaged
    start, said = time.monotonic(), []
    try:
        for step in range(3):  # DDP rebuilds its buckets after the first
            armed[0], start = step == 2, time.monotonic()
            inputs, labels = batch_of(step, rank)
            torch.nn.functional.cross_entropy(ddp(inputs), labels).backward()
    except (RuntimeError, ValueError) as error:
        said.append(str(error))
    taken = time.monotonic() - start
    try:
        hook.check()
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
    hook.close()
    return taken, said


def trained_by_each(options, steps):
    """Return the parameters after some steps with each of the hook's options, in one bucket."""
    return [trained("plain", steps, each, {})[0] for each in options]


def ddp_settings_differ():
    """Register a hook where only rank 1 looks for unused parameters."""
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    ddp = DistributedDataParallel(make_network(), find_unused_parameters=dist.get_rank() == 1)
    QSGDHook(2).register(ddp)


def states_differ(how):
    """Load states of other steps, or a state on rank 0 alone."""
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    rank = dist.get_rank()
    hook = QSGDHook(2, timeout_s=2 if how == "alone" else 60).register(
        DistributedDataParallel(make_network())
    )
    state = hook.state_dict()
    if how == "steps":
        state["step"] = 3 + rank
    try:
        if how != "alone" or rank == 0:
            hook.load_state_dict(state)
    finally:
        hook.close()


def misused():
    """Return what a hook says that is registered twice, and one whose norm needs one bucket of DDP."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    said = []
    hook = QSGDHook(2, bucket_size="model")
    ddp = DistributedDataParallel(make_network(), bucket_cap_mb=0.005)
    hook.register(ddp)
    try:
        hook.register(DistributedDataParallel(make_network()))
    except ValueError as error:
        said.append(str(error))
    try:
        for step in range(2):  # DDP cuts its buckets after the first step
            inputs, labels = batch_of(step, dist.get_rank())
            torch.nn.functional.cross_entropy(ddp(inputs), labels).backward()
    except RuntimeError:
        try:
            hook.check()
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    hook.close()
    return said


def registered_by_some(timeout_s):
    """Register a hook on rank 0 alone."""
    from torch.nn.parallel import DistributedDataParallel

    from qsgd_lab.distributed.hook import QSGDHook

    ddp = DistributedDataParallel(make_network())
    if dist.get_rank() == 0:
        QSGDHook(2, timeout_s=timeout_s).register(ddp)


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
        return ranks._run(RunConfig.from_dict(fields), RunStore(Path(folder)), rank_cases.lane(), looks)
    finally:
        ranks.time = clock
