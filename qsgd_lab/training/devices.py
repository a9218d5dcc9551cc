"""What a run is computed on: naming it, preparing it so that results repeat, describing it in the record."""

from __future__ import annotations

import os

import torch

#: Workers learn the device of a sweep from the environment, as they do the folder of the data.
DEVICE_VARIABLE = "QSGD_LAB_DEVICE"

#: Memory of a device that one process is reckoned to need: a ResNet-50 at a global batch of 128 in
#: float32, the largest network of the table, with the context of the process.
BYTES_A_PROCESS = 16 * 2**30
MAX_PROCESSES_A_DEVICE = 4


def resolve_device(name: str | None = None) -> torch.device:
    """Return the device that a name means.

    Parameters
    ----------
    name : str, optional
        "auto" (CUDA if torch sees a device), "cpu", "cuda" (the first) or "cuda:1"; by default what
        QSGD_LAB_DEVICE says, and "cpu" without it.

    Raises
    ------
    ValueError
        If the name means nothing, or a device that is not there.
    """
    name = name or os.environ.get(DEVICE_VARIABLE) or "cpu"
    if name == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    kind, colon, index = name.partition(":")
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise ValueError(f"device is {name!r}; it must be auto, cpu, cuda or cuda:N, such as cuda:1")
    if int(index or 0) >= count:
        seen = "1 CUDA device" if count == 1 else f"{count or 'no'} CUDA devices"
        raise ValueError(f"device is {name!r}, but torch sees {seen}; --device cpu needs none")
    return torch.device("cuda", int(index or 0))


def prepare(device: torch.device) -> None:
    """Set this process up so that the same run on the same device gives the same bits.

    On a CPU one thread computes everything. On CUDA the libraries choose deterministic algorithms, without
    timing alternatives, and TF32 is off: it would round the factors of float32 products to 10 bits.
    """
    torch.set_num_threads(1)
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def describe(device: torch.device) -> dict[str, str]:
    """Return what a record says of a device besides its name here: nothing for a CPU."""
    if device.type != "cuda":
        return {}
    return {
        "device_name": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def memory_bytes(device: torch.device) -> int:
    """Return all the memory of a CUDA device."""
    return int(torch.cuda.get_device_properties(device).total_memory)


def processes_for(memory: int) -> int:
    """Return how many processes side by side a device with so many bytes of memory takes: 1 to 4.

    Small networks leave a device idle between launches, which other processes fill; beyond four they only
    wait for each other.
    """
    return max(1, min(MAX_PROCESSES_A_DEVICE, memory // BYTES_A_PROCESS))
