"""From a gradient to its message in one pass, without an array of levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qsgd_lab.arrays import dense_input, not_compiled
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.encode import check_choice, encode
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, check_chunk_size
from qsgd_lab.coding.message import Message
from qsgd_lab.coding.payload import ChunkScheme
from qsgd_lab.levels import num_levels
from qsgd_lab.partition import partition
from qsgd_lab.quantization import check_scheme, quantize
from qsgd_lab.stream import Stream
from qsgd_lab.threads import num_threads


@not_compiled
def quantize_and_encode(
    gradient: Any,
    bits: int | None = None,
    code: str = "auto",
    layout: str = "auto",
    *,
    levels: int | None = None,
    convention: str = "magnitude",
    bucket_size: int | str = 512,
    norm: str = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    tensor: int = 0,
    tensor_sizes: tuple[int, ...] | None = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    threads: int | None = 1,
    backend: str = "auto",
    stream_version: int = 1,
) -> Message | Any:
    """Return ``encode(quantize(gradient, ...), code, layout, ...)``, byte for byte, in one pass.

    Levels are coded a few chunks at a time while they are in cache, so that no array of them is ever made.

    Parameters
    ----------
    gradient : float32, float16 or bfloat16 array or torch tensor of any shape
        In host memory, or on a CUDA device as `quantize` takes it.
    bits, levels, convention, bucket_size, norm, rounding, seed, node, step, tensor, tensor_sizes
        As in `quantize`, and so is `stream_version`.
    code, layout, chunk_size, threads
        As in `encode`. Which layout or code is shortest is known only when all levels are: where "auto"
        leaves a choice, the two steps are made one after the other after all. So they are on a device, but
        for the fixed layout, for which nothing is waited for there.
    backend : {"auto", "cpu", "cuda"}
        Auto works where the gradient lives.

    Returns
    -------
    Message
        Or, for a gradient on a device, what `encode` returns there.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    TypeError
        If the gradient's dtype or device is not supported.

    Notes
    -----
    Each thread computes the norm of a bucket that it shares with its neighbour; with one bucket in all, each
    computes that one.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = np.float32([3, -4, 0, 0])
    >>> message = quantize_and_encode(gradient, 2, "omega", "dense", seed=7)
    >>> message == encode(quantize(gradient, 2, seed=7), "omega", "dense")
    True
    """
    check_chunk_size(chunk_size)
    check_choice(code, layout)
    threads = num_threads(threads)
    gradient = dense_input(gradient)
    codec = codec_for(gradient, backend)
    # Without the levels nothing can be compared; on a device only the fixed layout has a fused kernel.
    if layout != "fixed" and (codec.IS_DEVICE or "auto" in (code, layout)):
        quantized = quantize(
            gradient,
            bits,
            levels=levels,
            convention=convention,
            bucket_size=bucket_size,
            norm=norm,
            rounding=rounding,
            seed=seed,
            node=node,
            step=step,
            tensor=tensor,
            tensor_sizes=tensor_sizes,
            backend=backend,
            stream_version=stream_version,
        )
        return encode(quantized, code, layout, chunk_size=chunk_size, threads=threads, backend=backend)
    if (bits is None) == (levels is None):
        raise ValueError("give either bits or levels")
    s = num_levels(bits, convention) if bits is not None else levels
    assert s is not None
    check_scheme(s, norm, rounding, stream_version=stream_version)
    key = Stream(seed, node, step, tensor).check().kernel_key(stream_version)
    parts = partition(math.prod(np.shape(gradient)), bucket_size, tensor_sizes)
    scheme = ChunkScheme(layout, code, int(s), chunk_size)
    return codec.quantize_and_encode(gradient, parts, scheme, norm, rounding == "stochastic", key, threads)
