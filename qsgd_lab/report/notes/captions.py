"""The sentence above a table: what its runs are, and what tells them from those of other tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from qsgd_lab.data.registry import dataset_title
from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.tables.sheets import field_words

#: Fields that every caption states in words; others join them where they alone tell tables apart.
CAPTIONED_FIELDS = (
    *("preset", "dataset", "model", "epochs", "global_batch", "scaling", "norm", "bucket_size"),
    *("flaws", "split"),
)


def caption(group: Group, others: Iterable[Group] = ()) -> str:
    """Return one sentence that says what ``group`` is and tells it from ``others`` in the same output."""
    sizes = " or ".join(f"{size:,}" for size in group.num_parameters)
    subject = f"{group.shared['model']} ({sizes} parameters) on {_dataset(group)}"
    return f"{subject}, preset {group.shared['preset']}: {', '.join(_settings(group, others))}."


def family_caption(family: Sequence[Group]) -> str:
    """Return one sentence that says what several groups have in common, and so what is compared."""
    common = {
        name: value
        for name, value in family[0].shared.items()
        if all(group.shared[name] == value for group in family)
    }
    subject = f"{common['model']} on " if "model" in common else "Models on "
    data = _dataset(family[0]) if "dataset" in common else "several data sets"
    preset = f", preset {common['preset']}" if "preset" in common else ""
    what = "models" if "model" not in common else "settings"
    what = what if "dataset" in common else "tasks"
    seeds = sorted({len(group.seeds) for group in family})
    words = _seed_words(seeds[0]) if len(seeds) == 1 else "numbers of seeds as below"
    version = "" if family[0].is_current else ", made by another version of qsgd-lab"
    quantizer = _quantizer_words(common.get("norm"), common.get("bucket_size"))
    shared = ", ".join([f"{len(family)} {what} side by side", *quantizer, words])
    return f"{subject}{data}{preset}: {shared}{version}."


def distinguishing_fields(group: Group, others: Iterable[Group]) -> list[str]:
    """Return the fields that tell ``group`` from those of ``others`` whose caption would else be the same."""
    alike = [
        other
        for other in others
        if all(other.shared[name] == group.shared[name] for name in CAPTIONED_FIELDS)
    ]
    return [
        name for name, value in group.shared.items() if any(other.shared[name] != value for other in alike)
    ]


def _dataset(group: Group) -> str:
    return dataset_title(str(group.shared["dataset"]))


def _settings(group: Group, others: Iterable[Group]) -> Iterator[str]:
    shared = group.shared
    yield _count(shared["epochs"], "epoch")
    if shared["scaling"] == "weak":
        yield f"batch {shared['global_batch']} a node"
    else:
        yield f"global batch {shared['global_batch']}"
    yield from _quantizer_words(shared["norm"], shared["bucket_size"])
    if shared["split"] != "iid":
        yield f"images dealt to nodes by {shared['split']}"
    if shared["flaws"]:
        yield f"with the published flaws {field_words(shared['flaws'])}"
    for name in distinguishing_fields(group, others):
        yield f"{name.replace('_', ' ')} {field_words(shared[name])}"
    yield _seed_words(len(group.seeds))
    if not group.is_current:
        yield "made by another version of qsgd-lab"


def _quantizer_words(norm: str | None, bucket_size: int | str | None) -> Iterator[str]:
    if norm is not None:
        yield f"{norm} norm"
    if bucket_size is not None:
        words = {"tensor": "one bucket per tensor", "model": "one bucket for the whole model"}
        yield words.get(str(bucket_size), f"buckets of {bucket_size}")


def _seed_words(num_seeds: int) -> str:
    if num_seeds == 1:
        return "one seed, hence no deviation"
    if num_seeds == 2:
        return "mean ± std over n = 2 seeds, too few for a firm deviation"
    return f"mean ± std over n = {num_seeds} seeds"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
