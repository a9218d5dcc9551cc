"""The hook on ranks of which one is in trouble."""

from __future__ import annotations

import os

import torch.distributed as dist
from rank_cases import batch_of, make_network


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
