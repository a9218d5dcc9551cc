"""qsgd-lab: a laboratory for quantized SGD.

>>> import numpy as np
>>> import qsgd_lab as ql
>>> gradient = np.float32([0.3, -0.7, 0.1, 0.0])
>>> q = ql.quantize(gradient, bits=3, bucket_size=512, norm="l2", seed=7)
>>> received = ql.dequantize(q)

Importing the package touches neither torch nor a GPU driver, and compiles nothing; Numba is loaded by the first call.
"""

from qsgd_lab.levels import num_levels
from qsgd_lab.quantization import QuantizedGradient, dequantize, quantize

__version__ = "0.1.0"

__all__ = ["QuantizedGradient", "dequantize", "num_levels", "quantize"]
