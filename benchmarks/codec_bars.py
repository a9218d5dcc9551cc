"""Every bar of the coder: sizes and speeds of `ranged` and omega beside zstd and compintpy, with a verdict.

    python benchmarks/codec_bars.py --save benchmarks/cpu_results/coder-avx512.json
    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= python benchmarks/codec_bars.py --part ranged

All calls of a comparison take turns in one process; the least processor time of the thread counts, so that
load on the machine makes both sides slower. Sizes leave out the norms of buckets, which zstd is not given.
Needs zstandard and compintpy (``pip install qsgd-lab[rivals]``); without them, their bars are not judged.
docs/scripts/make_benchmarks_page.py prints what is saved.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

import qsgd_lab as ql
from qsgd_lab.bench.timing import least_times
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM
from qsgd_lab.runs.environment import installed_version, processor

LEVELS = (1, 7, 15, 127)
PARTS = ("ranged", "classes", "omega", "model", "threads")
#: The least size over zstd-1's for one bucket in all.
MODEL_SHARE = 1.5


class Bar(NamedTuple):
    """One bar: what was asked and what was measured."""

    what: str
    asked: str
    measured: str
    holds: bool


class Case(NamedTuple):
    """Levels of one gradient, their entropy in bits, and their bytes."""

    name: str
    s: int
    quantized: Any
    entropy: float
    raw: bytes

    def __str__(self) -> str:
        return f"{self.name}, s = {self.s}"


def entropy_bits(levels: Any) -> float:
    """Return the bits of a level under their own frequencies."""
    counts = np.bincount(levels.astype(np.int64) - int(levels.min()))
    shares = counts[counts > 0] / levels.size
    return float(-(shares @ np.log2(shares)))


def case_of(name: str, gradient: Any, s: int, **scheme: Any) -> Case:
    """Return the case of a gradient."""
    quantized = ql.quantize(gradient, levels=s, **scheme)
    return Case(name, s, quantized, entropy_bits(quantized.levels), quantized.levels.tobytes())


def real_gradient() -> Any:
    """Return two gradients of the full AlexNet on the digits, of steps 5 and 30, one after the other."""
    from qsgd_lab.training.gradient_capture import capture_gradients
    from qsgd_lab.training.presets import configurations

    (cell,) = configurations("digits-full", ["alexnet"], [1], ["fp32"], [0], {"global_batch": 64})
    with tempfile.TemporaryDirectory() as folder:
        paths = capture_gradients(cell, Path(folder), steps=(5, 30))
        return np.concatenate([np.load(path) for path in paths])


def coded_bits(message: Any, quantized: Any) -> float:
    """Return the bits a coordinate of a message without its norms."""
    return 8 * (len(message) - quantized.norms.nbytes) / quantized.levels.size


def zstd_calls(case: Case, level: int = 1) -> tuple[Callable[[], bytes], Callable[[], bytes], float]:
    """Return zstd's encoder and decoder, and its bits a coordinate."""
    zstd: Any = import_module("zstandard")
    coder, decoder = zstd.ZstdCompressor(level=level), zstd.ZstdDecompressor()
    data = coder.compress(case.raw)
    bits = 8 * len(data) / case.quantized.levels.size
    return partial(coder.compress, case.raw), partial(decoder.decompress, data), bits


def ranged_bars(cases: list[Case], rounds: int) -> Iterator[Bar]:
    """Yield size and speed of one table beside zstd-1."""
    for case in cases:
        q, size = case.quantized, case.quantized.levels.size
        out, message = np.empty(size, q.levels.dtype), ql.encode(q, layout="ranged", effort=0)
        assert np.array_equal(ql.decode(message, out=out).levels, q.levels)
        compress, decompress, zstd_bits = zstd_calls(case)
        times = least_times(
            {
                "encode": partial(ql.encode, q, layout="ranged", effort=0),
                "zstd encode": compress,
                "decode": partial(ql.decode, message, out=out),
                "zstd decode": decompress,
            },
            rounds,
        )
        ns = {name: 1e9 * seconds / size for name, seconds in times.items()}
        bits = coded_bits(message, q)
        ratio = ns["zstd decode"] / ns["decode"]
        asked = 1.3 if case.s == 127 else 1.0
        figures = f"{ratio:.2f} ({ns['decode']:.3f} and {ns['zstd decode']:.3f} ns)"
        yield Bar(f"{case}: decode faster than zstd-1", f"> {asked:g}", figures, ratio > asked)
        ratio = ns["zstd encode"] / ns["encode"]
        asked = 1 / 1.1 if case.s == 127 and case.name == "gauss" else 1.0
        figures = f"{ratio:.2f} ({ns['encode']:.3f} and {ns['zstd encode']:.3f} ns)"
        yield Bar(f"{case}: encode against zstd-1", f"> {asked:.2f}", figures, ratio > asked)
        over, most = 100 * (bits / case.entropy - 1), 1.0 if case.s >= 7 else 2.0
        figures = f"{over:+.2f} % ({bits:.4f}, entropy {case.entropy:.4f}, zstd-1 {zstd_bits:.4f} bits)"
        yield Bar(f"{case}: size over the entropy", f"<= {most:g} %", figures, over <= most)


def class_bars(cases: list[Case]) -> Iterator[Bar]:
    """Yield sizes with classes beside zstd-1, and those that were named."""
    for case in cases:
        bits = coded_bits(ql.encode(case.quantized, layout="ranged"), case.quantized)
        zstd_bits = zstd_calls(case)[2]
        figures = f"{bits:.4f} and {zstd_bits:.4f} bits"
        yield Bar(f"{case}: with classes smaller than zstd-1", "<", figures, bits < zstd_bits)
        if (case.name, case.s) == ("real", 127):
            full = coded_bits(ql.encode(case.quantized, layout="ranged", effort=2), case.quantized)
            figures = f"{full:.4f} by effort 2, {bits:.4f} by effort 1 (zstd-1 {zstd_bits:.4f})"
            yield Bar(f"{case}: bits with classes", "<= 3.5", figures, full <= 3.5)


def wide_bars(gradient: Any) -> Iterator[Bar]:
    """Yield the bits of 255 levels."""
    case = case_of("gauss", gradient, 255)
    bits = coded_bits(ql.encode(case.quantized, layout="ranged"), case.quantized)
    zstd_bits = zstd_calls(case)[2]
    yield Bar(f"{case}: bits", "<= 5.6", f"{bits:.4f} (zstd-1 {zstd_bits:.4f})", bits <= 5.6)


def model_bars(gradients: dict[str, Any]) -> Iterator[Bar]:
    """Yield sizes of one bucket for the model."""
    for name, gradient in gradients.items():
        for s in LEVELS:
            case = case_of(name, gradient, s, bucket_size="model")
            message = min(
                (ql.encode(case.quantized, layout="ranged"), ql.encode(case.quantized)), key=len
            )  # sparse omega where almost all is zero
            zstd_bits, bits = zstd_calls(case)[2], coded_bits(message, case.quantized)
            figures = f"{zstd_bits / bits:.2f} ({bits:.5f} and {zstd_bits:.5f} bits)"
            what = f"{case}, one bucket: zstd-1's size over ours"
            yield Bar(what, f">= {MODEL_SHARE}", figures, zstd_bits / bits >= MODEL_SHARE)


def omega_bars(gradient: Any, rounds: int) -> Iterator[Bar]:
    """Yield decoding of dense omega and of ranged beside compintpy's omega, which is given 2^20 levels."""
    elias: Any = import_module("compintpy.elias")
    for s in LEVELS:
        case = case_of("gauss", gradient, s)
        q, size = case.quantized, case.quantized.levels.size
        part = q.levels[: 1 << 20].astype(np.int32)
        coder, out = elias.EliasOmega(1, True), np.empty(size, np.int8)
        data = coder.compress(part)
        times = least_times(
            {
                "omega": partial(ql.decode, ql.encode(q, "omega", "dense"), out=out),
                "ranged": partial(ql.decode, ql.encode(q, layout="ranged", effort=0), out=out),
            },
            rounds,
        )
        theirs = least_times({"t": partial(coder.decompress, data, part.size, np.int32)}, 3)["t"] / part.size
        for name, asked in (("omega", 18 if s in (1, 127) else None), ("ranged", 20)):
            ratio = theirs * size / times[name]
            if asked:
                figures = f"{ratio:.1f} ({1e9 * times[name] / size:.3f} and {1e9 * theirs:.2f} ns)"
                what = f"{case}: decode of {name} over compintpy's omega"
                yield Bar(what, f">= {asked}", figures, ratio >= asked)


def thread_bars(gradient: Any, rounds: int) -> Iterator[Bar]:
    """Yield the gain of a second thread by the clock, which needs an idle machine."""
    for layout, code in (("ranged", "auto"), ("dense", "omega")):
        for s in (7, 127):
            q = ql.quantize(gradient, levels=s)
            out = np.empty(q.levels.size, np.int8)
            message = ql.encode(q, code, layout, effort=0)
            for name, call in {
                "encode": partial(ql.encode, q, code, layout, effort=0),
                "decode": partial(ql.decode, message, out=out),
            }.items():
                one, two = (least_clock(partial(call, threads=threads), rounds) for threads in (1, 2))
                what = f"two threads, {name} of {layout}, s = {s}, n = {q.levels.size}"
                yield Bar(
                    what,
                    ">= 1.8",
                    f"{one / two:.2f} ({1e3 * one:.1f} and {1e3 * two:.1f} ms)",
                    one >= 1.8 * two,
                )


def least_clock(call: Callable[[], object], rounds: int) -> float:
    """Return the least seconds of a call by the clock."""
    least = float("inf")
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begun)
    return least


def all_bars(parts: tuple[str, ...], size: int, rounds: int) -> Iterator[Bar]:
    """Yield all bars of the parts."""
    rng = np.random.default_rng(0)
    gradients = {
        "gauss": rng.standard_normal(size, dtype=np.float32),
        "laplace": rng.laplace(size=size).astype(np.float32),
        "real": real_gradient(),
    }
    cases = [case_of(name, gradient, s) for name, gradient in gradients.items() for s in LEVELS]
    if "ranged" in parts:
        yield from ranged_bars(cases, rounds)
    if "classes" in parts:
        yield from class_bars(cases)
        yield from wide_bars(gradients["gauss"])
    if "model" in parts:
        yield from model_bars(gradients)
    if "omega" in parts:
        yield from omega_bars(gradients["gauss"], rounds)
    if "threads" in parts:
        yield from thread_bars(rng.standard_normal(1 << 24, dtype=np.float32), 2 * rounds)


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="By default all.")
@click.option("--dim", type=int, default=1 << 22, show_default="2^22")
@click.option("--rounds", type=int, default=15, show_default=True)
@click.option("--save", type=click.Path(path_type=Path), help="Also write the bars to a JSON file.")
def main(parts: tuple[str, ...], dim: int, rounds: int, save: Path | None) -> None:
    """Measure the bars, print a verdict for each, and exit with 1 if one is missed."""
    bars = []
    for bar in all_bars(parts or PARTS, dim, rounds):
        bars.append(bar)
        verdict = "holds" if bar.holds else "MISSED"
        sys.stdout.write(f"{verdict:6} {bar.what}: {bar.measured}, asked {bar.asked}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{sum(bar.holds for bar in bars)} of {len(bars)} bars hold ({FORM or 'scalar'})\n")
    if save is not None:
        conditions = {
            "processor": processor(),
            "ranged_form": FORM or "scalar",
            "date": time.strftime("%Y-%m-%d"),
            "coordinates": dim,
            "rounds": rounds,
            "packages": {
                name: installed_version(name)
                for name in ("qsgd-lab", "numpy", "numba", "zstandard", "compintpy")
            },
        }
        rows = [bar._asdict() for bar in bars]
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(
            json.dumps({"conditions": conditions, "bars": rows}, indent=1) + "\n", encoding="utf-8"
        )
    sys.exit(0 if all(bar.holds for bar in bars) else 1)


if __name__ == "__main__":
    main()
