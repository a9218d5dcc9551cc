"""What figures were made with: the device and the versions of everything that had a part."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any


def device_facts(device: int = 0) -> dict[str, Any]:
    """Return name, compute capability, memory and multiprocessors of a CUDA device, as torch knows them."""
    import torch

    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "compute_capability": f"{facts.major}.{facts.minor}",
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "multiprocessors": facts.multi_processor_count,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that matter and of CUDA, as far as they are there."""
    import torch

    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda)}
    for package in ("qsgd-lab", "numba", "numba-cuda", "numpy", "torch", "triton"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
