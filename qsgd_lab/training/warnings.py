"""What the theory says against a sweep before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qsgd_lab.compressors import QSGD
from qsgd_lab.runs.config import RunConfig

#: Only buckets of a known size are judged here; whole tensors and models are longer than this, so that the
#: factor is higher.
_ASSUMED_LONG_BUCKET = 100_000


def theory_warnings(configs: Iterable[RunConfig]) -> Iterator[str]:
    """Yield a line for each kind of run that error feedback may drive apart.

    An unbiased l2 quantizer whose variance factor exceeds 1 is no contraction, and typical gradients come
    close to its worst case: residuals then grow without bound. Under the max norm the worst case is far from
    typical, and such runs are not warned of.
    """
    for config in dict.fromkeys(_l2_feedback(config) for config in configs):
        if config is None:
            continue
        bits, bucket_size = config
        length = bucket_size if isinstance(bucket_size, int) else _ASSUMED_LONG_BUCKET
        factor = QSGD(bits, bucket_size=bucket_size).variance_factor(length)
        if factor > 1:
            at_least = "" if isinstance(bucket_size, int) else "at least "
            yield (
                f"{bits} bit with error feedback, l2 norm, bucket {bucket_size}: the variance factor is "
                f"{at_least}{factor:.3g}; above 1 this is no contraction and training can diverge "
                "(use --norm max, smaller buckets or more bits)"
            )


def _l2_feedback(config: RunConfig) -> tuple[int, int | str] | None:
    risky = config.error_feedback and config.norm == "l2" and config.rounding == "stochastic"
    if not risky or config.bits is None or config.bucket_size is None:
        return None
    return config.bits, config.bucket_size
