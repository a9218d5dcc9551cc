"""qsgd-lab: a laboratory for quantized SGD."""

__version__ = "0.1.0"
