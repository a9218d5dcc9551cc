"""qsgd-lab: a laboratory for quantized SGD.

Importing the package touches neither torch nor a GPU driver, and compiles nothing; Numba is loaded by the
first call.

Examples
--------
>>> import numpy as np
>>> import qsgd_lab as ql
>>> gradient = np.float32([0.3, -0.7, 0.1, 0.0])
>>> q = ql.quantize(gradient, bits=3, bucket_size=512, norm="l2", seed=7)
>>> message = ql.encode(q, code="omega")  # bytes to send; len(message) is the cost
>>> received = ql.dequantize(ql.decode(message))
"""

import os

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

if not os.path.isdir(os.path.join(__path__[0], "cli")):  # noqa: PTH112, PTH118
    from qsgd_lab.checkout import find_folders_beside

    find_folders_beside()

__version__ = "0.1.0"

__all__ = [
    "LimitError",
    "Message",
    "MessageError",
    "QuantizedGradient",
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
