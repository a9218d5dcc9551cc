"""``qsgd-lab encode --compressor``: the message of any method, of one node's first gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.messages.files import load_gradient
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place, save

#: What the method's text says itself, or what only QSGD's messages have.
_QUANTIZER_OPTIONS = (
    "bits",
    "levels",
    "code",
    "layout",
    "wire_version",
    "bucket_size",
    "norm",
    "rounding",
    "stream_version",
    "threads",
)


def encode_with(
    ctx: click.Context, text: str, gradient_file: Path, output: Path, stream: tuple[int, int, int]
) -> None:
    """Compress the gradient of a file and write its message.

    Parameters
    ----------
    ctx : click.Context
    text : str
        Of a compressor.
    gradient_file, output : Path
    stream : tuple of int
        Seed, node and step.

    Raises
    ------
    UsageError
        If an option is given that only QSGD has, the text names nothing, or the method's messages cannot be
        read alone.
    """
    from qsgd_lab.arrays import flat_float32
    from qsgd_lab.compressors import COMPRESSORS, Layout
    from qsgd_lab.stream import Stream

    for name in _QUANTIZER_OPTIONS:
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise UsageError(f"--compressor says all of its method; leave out --{name.replace('_', '-')}")
    check_place(output)
    with argument_errors("--compressor"):
        spec = COMPRESSORS.parse(text)
        compressor = spec.make()
    array = load_gradient(gradient_file)
    gradient = flat_float32(array)
    layout = Layout((tuple(array.shape),))  # methods of low rank compress matrices, not vectors
    with argument_errors():
        payload, _ = compressor.compress(gradient, compressor.init(layout), Stream(*stream).check())
        message = _message_of(spec, compressor, payload, gradient.size)
    save(output, message)
    each = f"{8 * len(message) / gradient.size:.4g} bits a coordinate" if gradient.size else "no coordinates"
    click.echo(f"{output}: {len(message)} bytes, {each} ({spec})", err=True)


def _message_of(spec: Any, compressor: Any, payload: Any, num_coordinates: int) -> Any:
    """Return a message that can be read alone.

    Raises
    ------
    ValueError
        If the method has none: a receiver needs more than the message.
    """
    import qsgd_lab as ql
    from qsgd_lab.compressors import Damped
    from qsgd_lab.errors import MessageError

    for damped in compressor.chain():
        if isinstance(damped, Damped):
            factor = 1 - damped.variance_factor(num_coordinates)
            raise ValueError(
                f"{spec}: receivers multiply by {factor:.6g}, which follows from the configuration and is "
                "not in a message; leave out damped(...), and multiply what is decoded"
            )
    message = compressor.wire.pack(payload)
    try:
        ql.decode(message, max_coordinates=num_coordinates)
    except MessageError:
        raise ValueError(f"{spec}: its messages cannot be read without the receiver's tensors") from None
    return message
