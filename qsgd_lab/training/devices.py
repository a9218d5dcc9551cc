"""The device of a run: its name, its preparation so that results repeat, its description in the record.

The number format of the forward and backward pass; parameters, gradients and losses stay float32.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Precision:
    """How a network is computed.

    Attributes
    ----------
    name : str
        "float32" or "bfloat16".
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in PRECISIONS:
            raise ValueError(f"precision is {self.name!r}; it must be one of: {', '.join(PRECISIONS)}")

    def forward(self, device: torch.device) -> AbstractContextManager[object]:
        """Return a context for the forward pass; the backward pass follows it.

        Casts of weights are not cached: every node's pass casts its own.
        """
        return torch.autocast(
            device.type, torch.bfloat16, enabled=self.name == "bfloat16", cache_enabled=False
        )

    def lay_out(self, images: torch.Tensor) -> torch.Tensor:
        """Return images in the memory format that the device's convolutions prefer.

        On CUDA, bfloat16 convolutions run on the tensor cores, which want channels last. On a CPU they are
        left as they are: measured on one core, channels last makes AlexNet 0.64 times as fast, ResNet-18
        0.94, ResNet-110 1.17 and ResNet-20 1.31.
        """
        if images.device.type == "cuda" and self.name == "bfloat16":
            return images.contiguous(memory_format=torch.channels_last)
        return images


#: What `RunConfig.precision` may be.
PRECISIONS = ("float32", "bfloat16")
FLOAT32 = Precision("float32")


def in_working_precision(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as autocast would hand it to a convolution: what replaces one must cast for itself."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))
