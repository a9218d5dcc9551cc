"""Every number that the paper's text quotes, by the key under which it quotes it.

A key that the runs cannot answer, because a cell is missing, gets a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, product

from evidence_claims import evidence_numbers
from flaws_table import flaw_numbers
from links import link_numbers
from models_table import parameter_counts
from paper_runs import FULL_PRECISION, PaperRuns
from quantizer_table import measured_rows, significant
from settings_table import EXPERIMENTS, THEOREMS, quantized
from worked_example import worked_example

from qsgd_lab.data.registry import DATASETS, dataset_title
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.report.tables.entries import mean_difference_entry, rounded
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.published import QSGD_TABLE_1
from qsgd_lab.theory.variance import paper_variance_bound, worst_case_variance_l2, worst_case_variance_max

MISSING = "--"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
BUCKET_SIZE = 512
#: The cells that the text may quote, whether the runs have them or not.
TEXT_METHODS = (
    "8 bit, stochastic + EF",
    "4 bit, stochastic + EF",
    "2 bit, stochastic + EF",
    "2 bit, stochastic",
    "2 bit, nearest",
    "2 bit, nearest + EF",
)
TEXT_NODES = (1, 2, 4, 8)
IMAGE_SIZE = 32
#: n and s of the statement about s = sqrt(n), and the shape on which it is read off.
ROOT_SIZE = 2**12
#: n of the statement about range coding, whose states weigh little there.
LARGE_SIZE = 2**20

_Pairs = Iterator[tuple[str, str]]


def quoted_numbers(runs: PaperRuns) -> dict[str, str]:
    """Return key -> what is printed.

    Raises
    ------
    ValueError
        If two parts of the paper use one key.
    """
    parts: Sequence[Callable[[PaperRuns], _Pairs]] = (
        _definitions,
        _protocol,
        _accuracy,
        _bits,
        _statistics,
        _overhead,
        _network,
        flaw_numbers,
        evidence_numbers,
        link_numbers,
    )
    numbers: dict[str, str] = {}
    for key, text in chain.from_iterable(part(runs) for part in parts):
        if key in numbers:
            raise ValueError(f"the number {key!r} is defined twice")
        numbers[key] = text
    return numbers


def _definitions(_runs: PaperRuns) -> _Pairs:
    """Yield what follows from formulas, from the networks and from the worked example."""
    from qsgd_lab.theory.checks.code_length import check_code_length
    from qsgd_lab.theory.checks.measurement import QuantizerSetting
    from qsgd_lab.theory.dense_code_length import paper_dense_bits
    from qsgd_lab.theory.universal_table import universal_coder_bits

    n, s = ROOT_SIZE, int(ROOT_SIZE**0.5)
    growth = 1 + float(worst_case_variance_l2(n, s)), 1 + float(paper_variance_bound(n, s))
    one_bucket = QuantizerSetting(s.bit_length(), n, "l2", levels=s)
    check = check_code_length([1.0] * n, one_bucket, "omega", "dense")
    measured = (check.bits_measured - check.bits_padding - NORM_BITS) / n
    yield "norm bits", str(NORM_BITS)
    yield "growth at root n, least", f"a factor of {growth[0]:g}"
    yield "growth at root n, published", f"{growth[1]:g}"
    yield "dense claim, slope", f"{(paper_dense_bits(n) - NORM_BITS) / n:g}"
    yield "dense claim, measured", f"{measured:g}"
    coded = universal_coder_bits(LARGE_SIZE, int(LARGE_SIZE**0.5)) / LARGE_SIZE
    yield "universal table, slope", f"{coded:.2f}"
    levels = 2**3 - 1
    yield "bucket size", str(BUCKET_SIZE)
    yield "levels at three bits", str(levels)
    yield "bucket bound, published", f"{float(paper_variance_bound(BUCKET_SIZE, levels)):.2f}"
    yield "bucket bound, l2", f"{float(worst_case_variance_l2(BUCKET_SIZE, levels)):.2f}"
    yield "bucket bound, max", f"{float(worst_case_variance_max(BUCKET_SIZE, levels)):.2f}"
    example = worked_example()
    yield "example norm", f"{example.norm:g}"
    for layout, bits in example.bits.items():
        yield f"example bits, {layout}", str(bits)
    yield "parameters of resnet110", _millions(parameter_counts()["resnet110"])
    yield "parameters of resnet50", _millions(parameter_counts()["resnet50"])
    speed_ups = {row.network: row.speed_up for row in QSGD_TABLE_1}
    yield "published speed-up, AlexNet", f"{speed_ups['AlexNet']:.2f}"
    yield "published speed-up, ResNet110", f"{speed_ups['ResNet110']:.2f}"
    theorem, experiment = measured_rows()[8][0], measured_rows()[2][1]
    yield "theorems' bits at eight bits", f"{theorem.bits:.2f}"
    yield "theorems' variance at eight bits", significant(theorem.check.relative_variance)
    yield "experiments' bits at two bits", f"{experiment.bits:.2f}"
    yield "experiments' variance at two bits", significant(experiment.check.relative_variance)


def _protocol(runs: PaperRuns) -> _Pairs:
    """Yield the settings of the main comparison, and the sizes of its data."""
    shared, group = runs.group.shared, runs.group
    entry = DATASETS.get(shared["dataset"])  # the data need not be there to write about runs on them
    sizes = entry.sizes if entry else None
    for part, size in zip(("train", "validation", "test"), sizes or (None,) * 3, strict=True):
        yield f"{part} images", MISSING if size is None else _grouped(size)
    yield "percent of one image", rounded(100 / sizes[-1], 2) if sizes else MISSING
    yield "steps an epoch", str(sizes[0] // shared["global_batch"]) if sizes else MISSING
    buckets = {"model": "one bucket for the whole model", "tensor": "one bucket for each tensor"}
    yield "dataset", escape(dataset_title(shared["dataset"]))
    yield "image size", rf"${IMAGE_SIZE} \times {IMAGE_SIZE}$ pixels"
    yield "model", escape(shared["model"])
    yield "parameters", " or ".join(map(_grouped, group.num_parameters))
    yield "most nodes", WORDS[group.nodes[-1]] if group.nodes[-1] < len(WORDS) else str(group.nodes[-1])
    yield "node counts", _listed([f"$N = {count}$" for count in group.nodes])
    yield "momentum", f"{shared['momentum']:g}"
    yield "weight decay", f"{shared['weight_decay']:g}"
    yield "learning rate", f"{shared['learning_rate']:g}"
    yield "warm-up share", rf"{100 * shared['warmup']:g}\,\%"
    yield "epochs", str(shared["epochs"])
    yield "global batch", str(shared["global_batch"])
    yield "norm", escape(str(shared["norm"]))
    yield "buckets", buckets.get(str(shared["bucket_size"]), f"buckets of {shared['bucket_size']}")
    yield "target", f"{100 * shared['target_accuracy']:g}"
    yield "seeds", _counted(len(group.seeds), "seed")
    yield "runs", str(len(runs.group.run_keys))
    worst = worst_case_variance_max if shared["norm"] == "max" else worst_case_variance_l2
    size = shared["bucket_size"] if isinstance(shared["bucket_size"], int) else group.num_parameters[0]
    yield "worst factor at two bits", f"{float(worst(size, 2**2 - 1)):.0f}"


def _accuracy(runs: PaperRuns) -> _Pairs:
    """Yield mean test accuracies, in percent, and their ranges over the numbers of nodes."""
    fp32 = [method for method in runs.group.methods if method.label == FULL_PRECISION]
    for name, means in (
        ("of fp32", runs.means(fp32)),
        ("with feedback", runs.means(runs.with_feedback)),
        ("of nearest", runs.means([m for m in runs.quantized if m.label == "2 bit, nearest"])),
        ("of nearest + EF", runs.means([m for m in runs.quantized if m.label == "2 bit, nearest + EF"])),
    ):
        yield f"accuracy {name}, lowest", rounded(min(means), 1) if means else MISSING
        yield f"accuracy {name}, highest", rounded(max(means), 1) if means else MISSING
    spread = max(runs.means(fp32)) - min(runs.means(fp32)) if runs.means(fp32) else None
    yield "control spread", MISSING if spread is None else rounded(spread, 1)
    for label, nodes in product(TEXT_METHODS, TEXT_NODES):
        yield f"accuracy, {label}, N={nodes}", _mean(runs, label, nodes)
    means = {label: runs.mean_over_nodes(label) for label in TEXT_METHODS}
    for label, mean in means.items():
        entry = mean_difference_entry(mean)
        yield f"mean over N, {label}", rf"${entry.mean} \pm {entry.deviation}$" if mean else MISSING
    of_feedback = (runs.mean_over_nodes(method.label) for method in runs.with_feedback)
    lowest = [mean.interval[0] for mean in of_feedback if mean and mean.interval]
    yield "lowest interval with feedback", f"${rounded(min(lowest), 1)}$" if lowest else MISSING
    for label, nodes in product((FULL_PRECISION, *TEXT_METHODS), TEXT_NODES):
        cell = runs.cell(label, nodes)
        counted = f"{cell.num_diverged} of {cell.num_seeds}" if cell else MISSING
        yield f"diverged, {label}, N={nodes}", counted


def _mean(runs: PaperRuns, label: str, nodes: int) -> str:
    mean = runs.mean_accuracy(label, nodes)
    return MISSING if mean is None else rounded(mean, 1)


def _bits(runs: PaperRuns) -> _Pairs:
    """Yield measured bits a coordinate and how many times fewer than float32's they are."""
    ratios = [method.traffic.ratio for method in runs.with_feedback if method.traffic.ratio]
    yield "ratio with feedback, lowest", rounded(min(ratios), 1) if ratios else MISSING
    yield "ratio with feedback, highest", rounded(max(ratios), 1) if ratios else MISSING
    for label in TEXT_METHODS:
        traffic = runs.methods[label].traffic if label in runs.methods else None
        measured = {"Elias": traffic.elias, "fixed": traffic.fixed, "sent": traffic.sent} if traffic else {}
        for name in ("Elias", "fixed", "sent"):
            bits = measured.get(name)
            yield f"{name} bits, {label}", MISSING if bits is None else rounded(bits, 2)
    for name, method in (("theorems", quantized(THEOREMS)[0]), ("experiments", quantized(EXPERIMENTS)[-1])):
        sent = method.traffic.sent
        yield f"coded bits, {name}", MISSING if sent is None else rounded(sent, 2)


def _statistics(runs: PaperRuns) -> _Pairs:
    """Yield what the tests against float32 came to."""
    from qsgd_lab.report.analysis.statistics import (
        EQUIVALENCE_MARGIN,
        MIN_SEEDS,
        SIGNIFICANCE_LEVEL,
        smallest_visible_difference,
    )

    tested = runs.tested_cells
    yield "significance level", rf"{100 * SIGNIFICANCE_LEVEL:g}\,\%"
    yield "equivalence margin", f"{EQUIVALENCE_MARGIN:g}"
    yield "fewest seeds", WORDS[MIN_SEEDS]
    yield "tested cells", str(len(tested))
    yield "cells with diverged runs", str(len([c for c in runs.quantized_cells if c.num_diverged]))
    yield "significant cells", str(sum(cell.verdict.claim in ("worse", "better") for cell in tested))
    yield "equivalent cells", str(sum(cell.verdict.claim == "equivalent" for cell in tested))
    visible = smallest_visible_difference(runs.fewest_pairs, len(tested)) if runs.fewest_pairs > 1 else None
    yield "visible difference", MISSING if visible is None else rounded(visible, 1)


def _overhead(runs: PaperRuns) -> _Pairs:
    """Yield what quantization adds to the computing time of a simulated step."""
    from step_times import quantize_shares, step_milliseconds

    for where, nodes in (("fewest", runs.group.nodes[0]), ("most", runs.group.nodes[-1])):
        shares = quantize_shares(runs, nodes)
        yield f"quantize share, {where} nodes, lowest", _percent(min(shares, default=None))
        yield f"quantize share, {where} nodes, highest", _percent(max(shares, default=None))
        compute = step_milliseconds(runs, "compute_s", nodes)
        yield f"compute, {where} nodes", MISSING if compute is None else rounded(compute, 1)
    machines = sorted({str(record.environment.get("processor")) for record in runs.in_group})
    yield "processor", escape(" or ".join(machines))
    torch = sorted({str(record.environment.get("torch")).split("+")[0] for record in runs.in_group})
    yield "torch version", escape(" or ".join(torch))


def _network(runs: PaperRuns) -> _Pairs:
    """Yield how much of a ratio of bits the collective leaves at the largest number of nodes."""
    from qsgd_lab.report.analysis.communication import exchange_of

    most = runs.group.nodes[-1]
    for label in TEXT_METHODS[:3]:
        for code in ("fixed", None):
            exchange = exchange_of(runs.of(label, most), code)
            key = f"volume ratio, {label}, {code or 'shortest'}"
            gain = None
            if exchange and exchange.moved_bytes:
                gain = exchange.at_full_precision().moved_bytes / exchange.moved_bytes
            yield key, MISSING if gain is None else rounded(gain, 1)
    yield "break-even bits, most nodes", f"{64 / most:g}"


def _percent(share: float | None) -> str:
    return MISSING if share is None else rounded(100 * share, 0)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} million"


def _grouped(count: int) -> str:
    return f"{count:,}" if count >= 10_000 else str(count)


def _counted(count: int, noun: str) -> str:
    word = WORDS[count] if count < len(WORDS) else str(count)
    return f"{word} {noun}" if count == 1 else f"{word} {noun}s"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
