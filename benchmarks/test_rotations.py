"""Speed of rotations and blocks of integers beside eager torch: ``pytest benchmarks --benchmark-only``.

``python benchmarks/test_rotations.py`` prints nanoseconds a coordinate and shares of a copy: the least of
rounds in which all take turns, so that a loaded machine slows all of them alike.
"""

from __future__ import annotations

import math
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.stream import Stream

SIZE = 2**22
BLOCK = 4096
METHODS = (
    "eden(bits=1)",
    "eden(bits=2)",
    "eden(bits=4)",
    "eden(bits=8)",
    "rotated-stochastic",
    "block-int",
    "block-int(smoother=0)",
    "block-int(rounding=stochastic)",
    "block-int(bits=8,smoother=0)",
)


def gradient():
    """Return a normal gradient."""
    return np.random.default_rng(0).standard_normal(SIZE, dtype=np.float32)


def torch_hadamard(y):
    """Return the normalised transform of rows, stage by stage."""
    h = 1
    while h < y.shape[1]:
        pairs = y.view(y.shape[0], -1, 2, h)
        y = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
        y = y.reshape(y.shape[0], -1)
        h *= 2
    return y / math.sqrt(y.shape[1])


def torch_eden(x):
    """Compress by EDEN of two bits in eager torch: two rounds, codes and scales."""
    y = x.view(-1, BLOCK)
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (x.numel() // BLOCK, BLOCK), generator=generator, dtype=torch.int8)
        y = torch_hadamard(y * (1 - 2 * signs))
    total = (y * y).sum(dim=1, keepdim=True)
    codes = torch.bucketize(y / torch.sqrt(total / BLOCK), torch.tensor([-0.9815988, 0, 0.9815988]))
    book = torch.tensor([-1.5104176, -0.4527800, 0.4527800, 1.5104176])
    return codes.to(torch.uint8), total / (book[codes] * y).sum(dim=1, keepdim=True)


def torch_block_int(x):
    """Round to four bits in blocks of 128 in eager torch, without a smoother."""
    y = x.view(-1, 128)
    scale = y.abs().amax(dim=1, keepdim=True) / 7
    return (y / scale).round().clamp(-7, 7).to(torch.int8), scale


def works(x):
    """Return name -> what is timed: compressing, decoding, the eager forms and a copy."""
    found = {"copy": partial(np.copyto, np.empty_like(x), x)}
    for text in METHODS:
        compressor = COMPRESSORS.parse(text).make()
        payload, _ = compressor.compress(x, None, Stream())
        found[f"compress {text}"] = partial(compressor.compress, x, None, Stream())
        found[f"decode {text}"] = partial(compressor.decompress, payload)
    found["torch, eden(bits=2)"] = partial(torch_eden, torch.from_numpy(x))
    found["torch, block-int(smoother=0)"] = partial(torch_block_int, torch.from_numpy(x))
    return found


@pytest.mark.parametrize("name", works(np.ones(BLOCK, np.float32)))
def test_speed(benchmark, name):
    """A gradient of 2^22 coordinates in one process."""
    benchmark.group = "rotations and blocks"
    benchmark(works(gradient())[name])


def main(rounds: int) -> None:
    """Print the least times of interleaved rounds."""
    torch.set_num_threads(1)
    jobs = works(gradient())
    least = dict.fromkeys(jobs, math.inf)
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            least[name] = min(least[name], time.perf_counter() - start)
    for name, seconds in least.items():
        share = least["copy"] / seconds
        sys.stdout.write(f"{name:<45} {seconds / SIZE * 1e9:8.3f} ns  {share:.3f} of copy\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
