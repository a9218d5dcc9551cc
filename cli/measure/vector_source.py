"""The vector that a command of the theory measures: a file of the user's, or a distribution to draw from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qsgd_lab.errors import UsageError
from qsgd_lab.memory import machine_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsgd_lab.compressors import Layout

#: A gradient of the embedded demo, in place of a distribution.
GRADIENT = "gradient"
DEFAULT_DIMENSION = 2**18
DEFAULT_DISTRIBUTION = "normal"

#: The vector in float32 and float64 while it is drawn; the rest is done in blocks.
DRAWN_BYTES = 24
#: Whole vectors of positions, errors or gaps in float64: one bucket for all, messages, the trade-off.
WHOLE_BYTES = 80


@dataclass(frozen=True)
class VectorSource:
    """Where the vector comes from.

    Attributes
    ----------
    vector : ndarray of float32, shape (n,), or None
        The vector of a file, or a gradient; None if it is to be drawn.
    distribution : str
    dim : int
        n.
    name : str
        The distribution or the file's name.
    layout : Layout, optional
        The tensors of a gradient.
    """

    vector: NDArray[np.float32] | None
    distribution: str
    dim: int
    name: str
    layout: Layout | None = None


def vector_source(
    input_file: Path | None,
    dim: int | None,
    distribution: str | None,
    *,
    default_dim: int = DEFAULT_DIMENSION,
    bytes_per_coordinate: int = WHOLE_BYTES,
) -> VectorSource:
    """Return the source that the options ``--input``, ``--dim`` and ``--distribution`` name.

    Parameters
    ----------
    input_file, dim, distribution
        The options; None where they are not given.
    default_dim : int
    bytes_per_coordinate : int
        What the command will need; `DRAWN_BYTES` or `WHOLE_BYTES`.

    Raises
    ------
    UsageError
        If they contradict each other, the file holds no usable vector, or memory will not do.
    DataMissingError
        If there is no such file.
    """
    if input_file is None and distribution == GRADIENT:
        if dim is not None:
            raise UsageError("the gradient has its own coordinates; leave out --dim")
        from qsgd_lab.training.gradient_capture import real_gradient

        found, layout = real_gradient()
        return VectorSource(found, GRADIENT, found.size, GRADIENT, layout)
    if input_file is None:
        size, name = dim or default_dim, distribution or DEFAULT_DISTRIBUTION
        _check_memory(size, bytes_per_coordinate)
        return VectorSource(None, name, size, name)
    if dim is not None or distribution is not None:
        raise UsageError("--input brings its own vector; leave out --dim and --distribution")
    vector = read_vector(input_file)
    _check_memory(vector.size, bytes_per_coordinate)
    return VectorSource(vector, DEFAULT_DISTRIBUTION, vector.size, input_file.name)


def _check_memory(num_coordinates: int, bytes_per_coordinate: int) -> None:
    """Refuse what would be killed for its memory after minutes."""
    memory = machine_memory()
    needed = num_coordinates * bytes_per_coordinate
    if memory is not None and needed > memory:
        raise UsageError(
            f"{num_coordinates} coordinates need about {needed / 2**30:.0f} GiB of memory, "
            f"and this machine has {memory / 2**30:.0f}; choose a smaller --dim"
        )


def read_vector(path: Path) -> NDArray[np.float32]:
    """Read a finite, non-zero float vector from an .npy, .npz, .pt or .safetensors file, or a pipe.

    Raises
    ------
    UsageError
        If the file holds anything else.
    DataMissingError
        If there is no such file.
    IntegrityError
        If it is damaged.
    """
    import numpy as np

    from qsgd_lab.data.foreign_arrays import read_array

    array = read_array(path, "save a vector there with numpy.save")
    if not np.issubdtype(array.dtype, np.floating) or array.size == 0:
        raise UsageError(
            f"{path} holds {array.size} numbers of {array.dtype}; only a non-empty array of floating-point "
            "numbers is measured"
        )
    with np.errstate(over="ignore"):
        vector = np.ascontiguousarray(array.reshape(-1), dtype=np.float32)
    if not np.isfinite(vector).all():
        raise UsageError(f"{path} holds NaN, infinities or numbers beyond float32; remove them first")
    if not vector.any():
        raise UsageError(f"{path} holds only zeros, on which there is nothing to measure")
    return vector
