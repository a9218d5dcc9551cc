"""qsgd-lab: a laboratory for quantized SGD.

Importing the package touches neither torch nor a GPU driver, and compiles nothing; Numba is loaded by the
first call. Compressors, with the state that training needs, are `QSGD` and `ErrorFeedback`, and others in
`qsgd_lab.compressors`; a `Stream` names their random words.

Examples
--------
>>> import numpy as np
>>> import qsgd_lab as ql
>>> gradient = np.float32([0.3, -0.7, 0.1, 0.0])
>>> q = ql.quantize(gradient, bits=3, bucket_size=512, norm="l2", seed=7)
>>> message = ql.encode(q, code="omega")  # bytes to send; len(message) is the cost
>>> received = ql.dequantize(ql.decode(message))
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qsgd_lab.coding.decode import decode
from qsgd_lab.coding.decode_sum import add_decoded, decode_values
from qsgd_lab.coding.device.decode import to_host_message
from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.fused import quantize_and_encode
from qsgd_lab.coding.message import Message, open_message
from qsgd_lab.coding.sizes import message_sizes
from qsgd_lab.errors import LimitError, MessageError
from qsgd_lab.levels import num_levels
from qsgd_lab.quantization import QuantizedGradient, dequantize, quantize
from qsgd_lab.stored_runs import load_runs
from qsgd_lab.stream import Stream

if TYPE_CHECKING:
    from qsgd_lab.compressors import QSGD, ErrorFeedback

if not os.path.isdir(os.path.join(__path__[0], "cli")):  # noqa: PTH112, PTH118
    from qsgd_lab.checkout import find_folders_beside

    find_folders_beside()

__version__ = "0.1.0"

#: Loaded at first use, with all compressors.
_COMPRESSORS = ("QSGD", "ErrorFeedback")


def __getattr__(name: str) -> Any:
    if name in _COMPRESSORS:
        return getattr(import_module("qsgd_lab.compressors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "QSGD",
    "ErrorFeedback",
    "LimitError",
    "Message",
    "MessageError",
    "QuantizedGradient",
    "Stream",
    "add_decoded",
    "decode",
    "decode_values",
    "dequantize",
    "encode",
    "load_runs",
    "message_sizes",
    "num_levels",
    "open_message",
    "quantize",
    "quantize_and_encode",
    "to_host_message",
]
