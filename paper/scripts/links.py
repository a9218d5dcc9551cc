"""What the text says of real processes on shaped links, from benchmarks/link_results.json.

``benchmarks/link_bars.py --out`` has written it, on an idle machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from paper_runs import PAPER, PaperRuns
from verdict import Verdict, decide

LINKS = PAPER.parent / "benchmarks" / "link_results.json"
FLOAT32, TWO_BIT, SHORT = "fp32", "2:all-gather", "2:all-gather:ranged"
SLOW, FASTER, FAST, LOOPBACK = ("50 Mbit/s", "200 Mbit/s", "1 Gbit/s", "loopback")
#: How far the model may be off at a rate.
MODEL_ERROR = {SLOW: 0.15, FASTER: 0.15, FAST: 0.30}
#: A share of the bytes that is worth a sentence.
MOST_SHARE = 2 / 3


@cache
def links() -> dict[str, Any]:
    """Return what was measured."""
    found: dict[str, Any] = json.loads(LINKS.read_text(encoding="utf-8"))
    return found


def row_of(rate: str, method: str) -> dict[str, Any]:
    """Return the row of a method on two nodes."""
    rows: list[dict[str, Any]] = links()["links"][f"{rate}, W = 2"]
    return next(row for row in rows if row["method"] == method)


def gain(rate: str, method: str) -> float:
    """Return how many times faster a method's step is than float32's."""
    return float(row_of(rate, FLOAT32)["median_s"] / row_of(rate, method)["median_s"])


def link_numbers(_: PaperRuns) -> Iterator[tuple[str, str]]:
    """Yield steps and gains."""
    yield "links: parameters", f"{row_of(SLOW, FLOAT32)['parameters']:,}"
    yield "links: steps", str(row_of(SLOW, FLOAT32)["steps"])
    for name, method in (("float32", FLOAT32), ("two bits", TWO_BIT)):
        yield f"links: milliseconds, {name}", f"{1e3 * row_of(SLOW, method)['median_s']:.0f}"
    for rate in (SLOW, FASTER, FAST):
        yield f"links: gain at {rate}", f"{gain(rate, TWO_BIT):.1f}"
    yield "links: gain near the entropy", f"{gain(SLOW, SHORT):.1f}"
    yield "links: share near the entropy", f"{100 * _share():.0f}"
    yield "links: gain over loopback", f"{gain(LOOPBACK, TWO_BIT):.2f}"
    for name, rate in (("slow", SLOW), ("middle", FASTER), ("fast", FAST)):
        yield f"links: {name} rate", rate.replace(" ", r"\,")
    yield "links: model error", f"{100 * MODEL_ERROR[SLOW]:.0f}"
    yield "links: model error, fast", f"{100 * MODEL_ERROR[FAST]:.0f}"


def pays_on_links(_: PaperRuns) -> Verdict:
    """Require that two-bit messages are faster than float32 on every shaped link."""
    return decide([(gain(rate, TWO_BIT) > 1, f"not at {rate}") for rate in MODEL_ERROR])


def model_is_near(_: PaperRuns) -> Verdict:
    """Require that the model's step is as near to the measured one as the text says."""
    rows = [(rate, row_of(rate, method)) for rate in MODEL_ERROR for method in (FLOAT32, TWO_BIT)]
    errors = [(rate, abs(row["modelled_s"] / row["median_s"] - 1)) for rate, row in rows]
    return decide([(e <= MODEL_ERROR[rate], f"it is {e:.0%} off at {rate}") for rate, e in errors])


def loopback_gains_nothing(_: PaperRuns) -> Verdict:
    """Require that two-bit messages are not faster over an unshaped loopback."""
    return decide([(gain(LOOPBACK, TWO_BIT) <= 1, "they are faster there")])


def range_coding_is_short(_: PaperRuns) -> Verdict:
    """Require that messages near the entropy take less than two thirds of the bytes."""
    return decide([(_share() < MOST_SHARE, f"it takes {_share():.0%}")])


def _share() -> float:
    return float(row_of(SLOW, SHORT)["counted_bytes"] / row_of(SLOW, TWO_BIT)["counted_bytes"])


LINK_CLAIMS: dict[str, Callable[[PaperRuns], Verdict]] = {
    "links: pays": pays_on_links,
    "links: model is near": model_is_near,
    "links: loopback": loopback_gains_nothing,
    "links: short": range_coding_is_short,
}
