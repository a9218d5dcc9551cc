"""
A whole program with the hook
=============================

Two processes train one network, and send their gradients at 2 bits a coordinate.

Start it with ``torchrun --nproc-per-node 2 examples/ddp_hook.py``.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab.data import load_dataset
from qsgd_lab.distributed.hook import QSGDHook

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.set_num_threads(1)
torch.manual_seed(0)

network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.ReLU(), nn.Linear(64, 10))
ddp = DistributedDataParallel(network, gradient_as_bucket_view=True)  # saves a copy of all gradients a step
hook = QSGDHook(bits=2).register(ddp)  # all that compression takes

digits = load_dataset("digits")
optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
order = torch.Generator().manual_seed(1)
for _epoch in range(4):
    for batch in torch.randperm(len(digits.train), generator=order).split(64):
        images, labels = digits.train.batch(batch[rank::world])
        optimizer.zero_grad()
        nn.functional.cross_entropy(ddp(images), labels).backward()
        optimizer.step()
hook.check()  # torch loses the type of what went wrong in a hook; this raises it

with torch.no_grad():
    accuracy = (network(digits.test.images).argmax(1) == digits.test.labels).double().mean()
done = hook.statistics()
if rank == 0:
    print(
        f"test accuracy {accuracy:.1%}; {done.bytes_sent / done.steps / 1e3:.0f} kB sent a step and rank, "
        f"where an all-reduce of float32 sends {done.bytes_of_fp32 / done.steps / 1e3:.0f} kB"
    )
hook.close()
dist.destroy_process_group()
