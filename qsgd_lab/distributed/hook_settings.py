"""The settings of the hook and of DDP: what is allowed, and what ranks compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab.compressors.protocol import Compressor

SEVERAL_BUCKETS = (
    "bucket_size=model needs one DDP bucket, and there are several: give DistributedDataParallel a "
    "bucket_cap_mb of at least the model's size, or take bucket_size=tensor"
)
#: Seeds are words of 64 bits in every method's random stream.
_SEEDS = 1 << 64


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Check that an argument is one of the known texts; raises a `ValueError` if it is not."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of: {', '.join(known)}")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the arguments that every method has.

    Parameters
    ----------
    settings : mapping
        raw_up_to, warmup_steps, seed, timeout_s, exclude, scaler and the flags, by name.

    Raises
    ------
    ValueError
        If a number is out of its range.
    TypeError
        If an argument is of another type.
    """
    for name in ("raw_up_to", "warmup_steps", "seed"):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} is {value!r}; it must be an integer, 0 or more")
        if value < 0 or (name == "seed" and value >= _SEEDS):
            most = ", below 2^64" if name == "seed" else ""
            raise ValueError(f"{name} is {value!r}; it must be 0 or more{most}")
    for name in ("error_feedback", "skip_nonfinite"):
        if not isinstance(settings[name], bool):
            raise TypeError(f"{name} is {settings[name]!r}; it must be True or False")
    timeout = settings["timeout_s"]
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | np.number):
        raise TypeError(f"timeout_s is {timeout!r}; it must be a number of seconds")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ValueError(f"timeout_s is {timeout!r}; it must be more than 0, and finite")
    exclude, scaler = settings["exclude"], settings["scaler"]
    if exclude is not None and not callable(exclude):
        raise TypeError(
            f"exclude is {exclude!r}; it must be a function of a parameter's name and the parameter"
        )
    if scaler is not None and not hasattr(scaler, "get_scale"):
        raise TypeError(f"scaler is a {type(scaler).__name__}; it must be a torch.amp.GradScaler")


def facts_of_ddp(ddp: DistributedDataParallel) -> dict[str, Any]:
    """Return the settings of DDP on which the number and the content of buckets depend."""
    return {
        "find_unused_parameters of DDP": bool(ddp.find_unused_parameters),
        "static_graph of DDP": bool(ddp.static_graph),
        "the size of DDP's buckets": ddp.bucket_bytes_cap,
    }


def takes_whole_model(compressor: Compressor) -> bool:
    """Whether a method has one norm for all parameters, which one bucket of DDP must then hold."""
    return getattr(compressor, "bucket_size", None) == "model"
