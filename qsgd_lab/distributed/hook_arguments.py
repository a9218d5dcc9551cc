"""The arguments of the hook, checked when it is made, and the settings of DDP that ranks compare."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab.compressors.protocol import Compressor

NOT_REGISTERED = "the hook has no model yet: call register(ddp) first"
SEVERAL_BUCKETS = (
    "bucket_size=model needs one DDP bucket, and there are several: give DistributedDataParallel a "
    "bucket_cap_mb of at least the model's size, or take bucket_size=tensor"
)
#: The greatest number of each, exclusive.
_LIMITS = {"seed": 2**64, "warmup_steps": 2**32, "raw_up_to": 2**63}
_FLAGS = ("error_feedback", "skip_nonfinite")


def check_arguments(given: dict[str, Any]) -> None:
    """Check the arguments of `QSGDHook`, by their names; those that make a compressor it checks itself.

    Raises
    ------
    TypeError
        If an argument is of another type than it takes.
    ValueError
        If a number is out of its range.
    """
    for name, limit in _LIMITS.items():
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} is {value!r}; it must be an integer of at least 0")
        if not 0 <= value < limit:
            raise ValueError(f"{name} is {value!r}; it must be an integer from 0 to {limit - 1}")
    for name in _FLAGS:
        if not isinstance(given[name], bool | np.bool_):
            raise TypeError(f"{name} is {given[name]!r}; it must be True or False")
    check_timeout(given["timeout_s"])
    if given["exclude"] is not None and not callable(given["exclude"]):
        raise TypeError(
            f"exclude is {given['exclude']!r}; it must be a function (name, parameter) -> bool, or None"
        )
    if given["scaler"] is not None and not hasattr(given["scaler"], "get_scale"):
        raise TypeError(f"scaler is {given['scaler']!r}; it must be a torch.amp.GradScaler, or None")
    if given["compressor"] is not None and not isinstance(given["compressor"], str | Compressor):
        raise TypeError(
            f"compressor is {given['compressor']!r}; it must be a method's text, such as "
            "'ef(top-k(fraction=0.01))', or a Compressor"
        )


def check_timeout(value: Any, name: str = "timeout_s") -> float:
    """Return seconds that ranks may be waited for.

    Raises
    ------
    TypeError
        If the value is no number.
    ValueError
        If it is not above 0, or more than a year: clocks cannot hold it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {value!r}; it must be a number of seconds")
    if not (math.isfinite(value) and 0.001 <= value <= 366 * 86400):
        raise ValueError(f"{name} is {value!r}; it must be a number of seconds, above 0 and at most a year")
    return float(value)


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
