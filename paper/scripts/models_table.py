"""The networks of the laboratory: parameters, and what one gradient of each weighs."""

from __future__ import annotations

from functools import cache

from qsgd_lab.models import MODELS
from qsgd_lab.theory.dense_code_length import fixed_width_bits

#: The meaning of each name, in the table's words.
DESCRIPTIONS = {
    "alexnet": "convolutions",
    "alexnet-quarter": "narrower",
    "resnet20": "basic blocks",
    "resnet110": "basic blocks",
    "resnet50": "bottlenecks",
}
MESSAGE_BITS = 4
BUCKET_SIZE = 512
#: Of the models, those that the text introduces.
SHOWN = ("alexnet", "alexnet-quarter", "resnet20", "resnet110", "resnet50")


@cache
def parameter_counts() -> dict[str, int]:
    """Return name -> number of parameters, counted on the network itself."""
    return {name: sum(p.numel() for p in MODELS[name]().parameters()) for name in SHOWN}


def models_table() -> str:
    """Return the networks as a LaTeX float."""
    rows = [
        rf"{name} & {DESCRIPTIONS[name]} & {count:,} & {4 * count / 1e6:.2f} & "
        rf"{_coded_megabytes(count):.2f} \\"
        for name, count in parameter_counts().items()
    ]
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            r"\caption{Networks, and the megabytes of one gradient as float32 and "
            rf"at $b = {MESSAGE_BITS}$, fixed width, buckets of {BUCKET_SIZE}.}}",
            r"\label{tab:models}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{0pt}",
            r"\begin{tabular*}{\columnwidth}{@{\extracolsep{\fill}}l l r r r@{}}",
            r"\toprule",
            rf"Name & & Parameters & float32 & $b = {MESSAGE_BITS}$ \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table}",
            "",
        ]
    )


def _coded_megabytes(num_parameters: int) -> float:
    return fixed_width_bits(num_parameters, MESSAGE_BITS, bucket_size=BUCKET_SIZE) / 8e6
