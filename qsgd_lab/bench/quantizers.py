"""Quantizing with eager torch, as public systems write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def grace(gradient: Any, num_levels: int) -> Callable[[], Any]:
    """Return QSGD as GRACE's torch compressor does it: one norm, a uniform tensor, eager operations."""
    import torch

    tensor = torch.from_numpy(gradient)

    def run() -> Any:
        norm = tensor.norm()
        scaled = num_levels / norm * tensor.abs()
        lower = scaled.floor()
        up = (torch.empty_like(tensor).uniform_() < scaled - lower).float()
        return ((lower + up) * tensor.sign()).to(torch.int8), norm

    return run


def bucketed(gradient: Any, num_levels: int, bucket_size: int = 512) -> Callable[[], Any]:
    """Return the same with a norm a bucket."""
    import torch

    tensor = torch.from_numpy(gradient[: gradient.size // bucket_size * bucket_size]).view(-1, bucket_size)

    def run() -> Any:
        norms = tensor.norm(dim=1, keepdim=True)
        scaled = tensor.abs() * (num_levels / norms)
        levels = (scaled + torch.rand_like(scaled)).floor_().clamp_(max=num_levels)
        return levels.mul_(tensor.sign()).to(torch.int8), norms

    return run
