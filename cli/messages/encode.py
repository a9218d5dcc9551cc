"""``qsgd-lab encode``: quantize a gradient in a file and write its message."""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.messages.encode_with import encode_with
from qsgd_lab.cli.messages.files import load_gradient, output_option, threads_option
from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.quantities import BUCKET_SIZE
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place, save
from qsgd_lab.levels import MAX_LEVELS, NORMS


@click.command()
@click.argument("gradient_file", metavar="GRADIENT", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--compressor",
    metavar="METHOD",
    shell_complete=one_of(completion.compressors),
    help="Encode with this method in place of QSGD's options, such as 'top-k(fraction=0.01)'.",
)
@click.option(
    "--bits", type=click.IntRange(1, 15), help="Magnitude bits b, the sign apart: s = 2^b - 1 levels."
)
@click.option("--levels", type=click.IntRange(1, MAX_LEVELS), help="Levels s themselves, in place of --bits.")
@click.option(
    "--code",
    type=click.Choice(["auto", "gamma", "delta", "omega"]),
    default="auto",
    show_default=True,
    help="Of integers; omega is the paper's.",
)
@click.option(
    "--layout",
    type=click.Choice(["auto", "auto-any", "fixed", "dense", "dense-signed", "sparse", "base3", "ranged"]),
    default="auto",
    show_default=True,
    help="'auto', here and for the code, takes the shortest of version 1, 'auto-any' of both. "
    "Of version 2: 'base3' (s = 1), 'ranged'.",
)
@click.option(
    "--wire-version",
    type=click.IntRange(1, 2),
    help="Of the wire format: 1 has Elias codes, 2 a shorter envelope.  [default: 1; 2 for base3 and ranged]",
)
@click.option(
    "--bucket-size",
    type=BUCKET_SIZE,
    default=512,
    show_default=True,
    help="Coordinates that share a norm, or 'tensor' for one bucket.",
)
@click.option("--norm", type=click.Choice(NORMS), default="l2", show_default=True)
@click.option(
    "--rounding", type=click.Choice(["stochastic", "nearest"]), default="stochastic", show_default=True
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option(
    "--node", type=click.IntRange(0, 2**32 - 1), default=0, help="Whose gradient: its own random words."
)
@click.option(
    "--step", type=click.IntRange(0, 2**32 - 1), default=0, help="Of which step: its own random words."
)
@click.option(
    "--stream-version",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Of the random words: 1 draws one for each coordinate, 2 one for two, which is faster.",
)
@threads_option
@click.pass_context
def encode(
    ctx: click.Context,
    gradient_file: Path,
    output: Path,
    compressor: str | None,
    bits: int | None,
    levels: int | None,
    code: str,
    layout: str,
    wire_version: int | None,
    bucket_size: int | str,
    norm: str,
    rounding: str,
    seed: int,
    node: int,
    step: int,
    stream_version: int,
    threads: int,
) -> None:
    """Quantize the gradient of a .npy file and write the message that carries it.

    One array in an .npz, .pt or .safetensors file is read, too; - is standard input.
    What it cost is told on standard error. The same gradient, options and seed give the same bytes
    anywhere.

    \b
    Example:
      qsgd-lab encode grad.npy -o grad.qsgd --bits 3
      qsgd-lab encode grad.npy -o grad.qsgd --bits 1 --wire-version 2
      qsgd-lab encode grad.npy -o grad.qsgd --compressor "top-k(fraction=0.01)"
      qsgd-lab encode grad.npy -o grad.qsgd --bits 3 --code omega \\
        --layout dense --norm max --seed 7
    """
    import qsgd_lab as ql

    if compressor is not None:
        encode_with(ctx, compressor, gradient_file, output, (seed, node, step))
        return
    if (bits is None) == (levels is None):
        raise UsageError("give one of --bits and --levels, such as --bits 3")
    check_place(output)
    gradient = load_gradient(gradient_file)
    with argument_errors():
        quantized = ql.quantize(
            gradient,
            bits,
            levels=levels,
            bucket_size=bucket_size,
            norm=norm,
            rounding=rounding,
            seed=seed,
            node=node,
            step=step,
            stream_version=stream_version,
        )
        message = ql.encode(quantized, code, layout, version=wire_version, threads=threads)
    save(output, message.data)
    if message.version == 1:
        header = message.header
        written = header.layout if header.code == "none" else f"{header.layout}, {header.code}"
    else:
        written = f"version 2, {ql.decode(message).layout}"
    each = f"{message.bits_per_coordinate:.4g} bits a coordinate" if len(quantized) else "no coordinates"
    click.echo(f"{output}: {len(message)} bytes, {each} ({written}, s = {quantized.num_levels})", err=True)
