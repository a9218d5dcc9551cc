"""From a gradient to its message in one pass, without an array of levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import dense_input, flat_float32, not_compiled, resolve_backend
from qsgd_lab.coding.encode import assemble, check_choice, encode
from qsgd_lab.coding.index import Directory
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, LAYOUTS, check_chunk_size, fixed_width
from qsgd_lab.coding.message import Message
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes, write_payload
from qsgd_lab.coding.threads import num_threads
from qsgd_lab.levels import NORMS, num_levels
from qsgd_lab.partition import partition
from qsgd_lab.quantization import check_scheme, level_dtype, quantize
from qsgd_lab.stream import Stream


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
) -> Message | Any:
    """Return ``encode(quantize(gradient, ...), code, layout, ...)``, byte for byte, in one pass.

    Levels are coded a few chunks at a time while they are in cache, so that no array of them is ever made.

    Parameters
    ----------
    gradient : float32, float16 or bfloat16 array or torch tensor of any shape
        In host memory, or on a CUDA device as `quantize` takes it.
    bits, levels, convention, bucket_size, norm, rounding, seed, node, step, tensor, tensor_sizes
        As in `quantize`.
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
    backend = resolve_backend(gradient, backend)
    if layout != "fixed" and (backend == "cuda" or "auto" in (code, layout)):
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
        )
        return encode(quantized, code, layout, chunk_size=chunk_size, threads=threads, backend=backend)
    if (bits is None) == (levels is None):
        raise ValueError("give either bits or levels")
    s = num_levels(bits, convention) if bits is not None else levels
    assert s is not None
    check_scheme(s, norm, rounding)
    stream = Stream(seed, node, step, tensor).check()
    shape = tuple(np.shape(gradient))
    parts = partition(math.prod(shape), bucket_size, tensor_sizes)
    scheme = ChunkScheme(layout, code, int(s), chunk_size)
    if backend == "cuda":
        from qsgd_lab.coding.device.fused import quantize_and_pack_on_device

        return quantize_and_pack_on_device(gradient, parts, scheme, norm, rounding == "stochastic", stream)
    x = flat_float32(gradient)
    norms = np.empty(parts.num_buckets, np.float32)
    offsets = (parts.bucket_offsets, parts.tensor_offsets)
    write = _writer(x, offsets, stream, (NORMS.index(norm), rounding == "stochastic"), scheme, norms)
    payload, directory = write_payload(write, x.size, scheme, threads, lead_bytes(parts, shape, scheme))
    return assemble(payload, directory, norms, scheme, norm, parts, shape)


def _writer(
    x: NDArray[np.float32],
    offsets: tuple[NDArray[np.int64], NDArray[np.int64]],
    stream: Stream,
    rounding: tuple[int, bool],
    scheme: ChunkScheme,
    norms: NDArray[np.float32],
) -> Any:
    """Return what writes a run of chunks, as `write_payload` takes it."""
    from qsgd_lab.coding.tables import encode_tables
    from qsgd_lab.kernels.cpu.quantize_encode import CHUNKS_AT_A_TIME, quantize_and_encode_chunks
    from qsgd_lab.kernels.fixed_point import fraction_bits

    s = scheme.num_levels
    quantizer = (*rounding, np.uint32(s), np.uint32(fraction_bits(s)))
    tables = encode_tables(scheme.layout, scheme.code, s)
    coder = (LAYOUTS[scheme.layout], np.uint64(fixed_width(s)), tables)

    def write(first: int, last: int, target: NDArray[np.uint8], directory: Directory) -> int:
        size: int = quantize_and_encode_chunks(
            x,
            x.view(np.int32),
            offsets,
            stream.kernel_key(),
            quantizer,
            (scheme.chunk_size, first, last),
            coder,
            np.empty(CHUNKS_AT_A_TIME * scheme.chunk_size, level_dtype(s)),
            target,
            (directory.num_words, directory.checksums, directory.num_nonzeros),
            norms,
        )
        return size

    return write
