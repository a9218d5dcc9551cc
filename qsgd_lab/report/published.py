"""Figures that others published, as data: for comparison with a measured table.

Only figures whose source was read are here. They are test accuracies in percent, as printed; a protocol note
says what keeps a figure from being compared with a measured one without care.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FULL_PRECISION_BITS = 32


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where figures come from.

    Attributes
    ----------
    name : str
        Short, for a table's column or row.
    reference : str
        Enough to find the text.
    is_reviewed : bool
        True for a published paper, False for a README or a course report.
    """

    name: str
    reference: str
    is_reviewed: bool


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """One published test accuracy.

    Attributes
    ----------
    source : Source
    dataset : str
        A key of the lab's data sets (``cifar10``), or another name for one that the lab does not hold.
    model : str
        A key of the lab's models where the network is the same, or a name that none of them has.
    bits : int
        As the source labels them; 32 is full precision.
    accuracy : float
        Top-1 on the test set, in percent.
    deviation : float or None
        Sample standard deviation over `num_runs`, where it was published.
    num_runs : int
        Runs that `accuracy` is the mean, or with `is_best` the best, of.
    is_best : bool
        True if the figure is the best of several runs, or of several checkpoints on the test set.
    nodes : int or None
        N; None where the source does not tie the figure to one.
    num_levels : int or None
        s of the quantizer behind it, where known.
    epochs : int or None
        Epochs until the checkpoint that was reported, where printed.
    speedup : float or None
        End-to-end against full precision, where printed.
    note : str
        What the protocol was.
    """

    source: Source
    dataset: str
    model: str
    bits: int
    accuracy: float
    deviation: float | None = None
    num_runs: int = 1
    is_best: bool = False
    nodes: int | None = None
    num_levels: int | None = None
    epochs: int | None = None
    speedup: float | None = None
    note: str = ""


QSGD_PAPER = Source(
    name="QSGD",
    reference="Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD. NeurIPS 2017, Table 1",
    is_reviewed=True,
)
RESNET_PAPER = Source(
    name="He et al.",
    reference="He, Zhang, Ren, Sun: Deep residual learning for image recognition. CVPR 2016, Table 6",
    is_reviewed=True,
)
REPORT_2023 = Source(
    name="2023 report",
    reference="Course report of June 2023, github.com/emilio-gambino/OptiML2023",
    is_reviewed=False,
)
AKAMASTER = Source(
    name="akamaster", reference="README of github.com/akamaster/pytorch_resnet_cifar10", is_reviewed=False
)
BEARPAW = Source(
    name="bearpaw", reference="README of github.com/bearpaw/pytorch-classification", is_reviewed=False
)
KUANGLIU = Source(name="kuangliu", reference="README of github.com/kuangliu/pytorch-cifar", is_reviewed=False)


def _qsgd_table(
    dataset: str, model: str, full: float, quantized: float, bits: int, nodes: int, speedup: float
) -> tuple[PublishedFigure, PublishedFigure]:
    note = "s as the literature reads such bits: the sign inside, s = 2^(b-1) - 1"
    return (
        PublishedFigure(
            source=QSGD_PAPER, dataset=dataset, model=model, bits=FULL_PRECISION_BITS, accuracy=full
        ),
        PublishedFigure(
            source=QSGD_PAPER,
            dataset=dataset,
            model=model,
            bits=bits,
            accuracy=quantized,
            nodes=nodes,
            num_levels=2 ** (bits - 1) - 1,
            speedup=speedup,
            note=note,
        ),
    )


def _report_2023(
    model: str, accuracies: tuple[float, ...], epochs: tuple[int, ...], note: str, *, biased: bool
) -> tuple[PublishedFigure, ...]:
    """Return the four rows of one table of the 2023 report: 32, 8, 4 and 2 bits."""

    def levels(bits: int) -> int | None:
        if bits == FULL_PRECISION_BITS:
            return None
        return (1 << bits) - (1 if biased else 0)

    return tuple(
        PublishedFigure(
            source=REPORT_2023,
            dataset="cifar10",
            model=model,
            bits=bits,
            accuracy=accuracy,
            is_best=True,
            nodes=2 if bits != FULL_PRECISION_BITS else 1 if biased else None,
            num_levels=levels(bits),
            epochs=epoch,
            note=note,
        )
        for bits, accuracy, epoch in zip((FULL_PRECISION_BITS, 8, 4, 2), accuracies, epochs, strict=True)
    )


def _cifar(
    source: Source, model: str, accuracy: float, note: str = "", **more: float | int | bool
) -> PublishedFigure:
    fields = {"bits": FULL_PRECISION_BITS, "accuracy": accuracy, "note": note, **more}
    return PublishedFigure(source=source, dataset="cifar10", model=model, **fields)  # type: ignore[arg-type]


_HE_NOTE = "pad and crop, flip; 64k steps of 128 images"
_CHECKPOINT_NOTE = "one seed; the best on the test set of three checkpoints"

#: Every published figure, source by source.
PUBLISHED: tuple[PublishedFigure, ...] = (
    *_qsgd_table("imagenet", "alexnet-imagenet", 59.50, 60.05, 4, 8, 2.05),
    *_qsgd_table("imagenet", "resnet152-imagenet", 77.0, 76.74, 8, 8, 1.56),
    *_qsgd_table("imagenet", "resnet50-imagenet", 74.68, 74.76, 4, 8, 1.26),
    *_qsgd_table("cifar10", "resnet110", 93.86, 94.19, 4, 8, 1.10),
    *_qsgd_table("an4", "lstm", 81.13, 81.15, 4, 2, 2.0),
    *_report_2023(
        "alexnet-227",
        (83.25, 84.2, 85.19, 84.3),
        (16, 18, 22, 28),
        f"{_CHECKPOINT_NOTE}; no-op error feedback, biased levels, twice the batch when quantized",
        biased=True,
    ),
    *_report_2023(
        "resnet50-224",
        (82.22, 82.78, 82.48, 81.56),
        (20, 16, 18, 20),
        f"{_CHECKPOINT_NOTE}; evaluated in training mode; the baseline went through an overflowing quantizer",
        biased=False,
    ),
    *_report_2023(
        "resnet18-224",
        (86.98, 87.06, 87.15, 86.82),
        (30, 27, 30, 32),
        f"{_CHECKPOINT_NOTE}; the baseline went through an overflowing quantizer",
        biased=False,
    ),
    _cifar(RESNET_PAPER, "resnet20", 91.25, _HE_NOTE),
    _cifar(RESNET_PAPER, "resnet110", 93.57, f"{_HE_NOTE}; best of 5", num_runs=5, is_best=True),
    _cifar(RESNET_PAPER, "resnet110", 93.39, f"{_HE_NOTE}; mean of 5", num_runs=5, deviation=0.16),
    _cifar(AKAMASTER, "resnet20", 91.73, "a README's figure"),
    _cifar(AKAMASTER, "resnet110", 93.68, "a README's figure"),
    _cifar(BEARPAW, "resnet110", 93.89, "a README's figure; 164 epochs"),
    _cifar(BEARPAW, "alexnet", 77.22, "a README's figure; 164 epochs"),
    _cifar(KUANGLIU, "resnet50", 93.62, "a README's figure"),
)


def published_figures(
    dataset: str | None = None, model: str | None = None, bits: Iterable[int] | None = None
) -> tuple[PublishedFigure, ...]:
    """Return the figures for a data set, a model and bits; what is not named is not filtered by.

    Examples
    --------
    >>> [figure.accuracy for figure in published_figures("cifar10", "resnet110", [4])]
    [94.19]
    """
    wanted = None if bits is None else set(bits)
    return tuple(
        figure
        for figure in PUBLISHED
        if dataset in (None, figure.dataset)
        and model in (None, figure.model)
        and (wanted is None or figure.bits in wanted)
    )
