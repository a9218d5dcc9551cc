"""Stored runs as tidy columns: a row a run, or a row an epoch, with types, and units in the names.

Shares stay in [0, 1] and are called ``_share``, so that 0.97 is not taken for percent. Every known column is
always there, in this order; a code, a time or a fact of the machine that is not known gets a column of its
own behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qsgd_lab.levels import num_levels
from qsgd_lab.report.analysis.communication import Link, exchange_of, mean_bits, node_work, sent_code

if TYPE_CHECKING:
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.record import RunRecord

Kind = Literal["text", "int", "float", "bool"]
Columns = dict[str, list[Any]]

_CODES = ("fixed", "gamma", "delta", "omega", "auto", "message", "fp32")
_TIMES = ("total_s", "compute_s", "quantize_s", "other_s", "encode_message_s", "decode_message_s")
_FACTS: dict[str, Kind] = {
    "commit": "text",
    "dirty": "bool",
    "python": "text",
    "torch": "text",
    "numpy": "text",
    "numba": "text",
    "qsgd_lab": "text",
    "components": "text",
    "device": "text",
    "machine": "text",
    "processor": "text",
    "threads": "int",
    "data_sha256": "text",
}


class Column(NamedTuple):
    """A column of a row a run.

    Attributes
    ----------
    name : str
    kind : {"text", "int", "float", "bool"}
        The type of its values; each may be None.
    source : str or callable
        Where its value is in a record, such as ``config.seed``, or what computes it.
    meaning : str
    """

    name: str
    kind: Kind
    source: str | Callable[[RunRecord], Any]
    meaning: str = ""

    def value(self, run: RunRecord) -> Any:
        """Return the column's value for a run; None where its record has none."""
        if callable(self.source):
            value = self.source(run)
        else:
            part, _, name = self.source.partition(".")
            owner = getattr(run, part)
            value = owner.get(name) if isinstance(owner, dict) else getattr(owner, name) if name else owner
        return _typed(value, self.kind)


def _if_quantized(value: Any, run: RunRecord) -> Any:
    """Return `value`, but None for a run whose method has neither bits nor buckets."""
    return value if run.config.has_quantizer_fields else None


def _bits(run: RunRecord) -> int | None:
    return _if_quantized(run.config.bits, run)  # type: ignore[no-any-return]


def _levels(run: RunRecord) -> int | None:
    try:
        return num_levels(_bits(run) or 0, _convention(run) or "magnitude")
    except ValueError:  # a record may have any bits and any convention
        return None


def _convention(run: RunRecord) -> str | None:
    return _if_quantized(run.config.convention or "magnitude", run)  # type: ignore[no-any-return]


def _bucket_coordinates(run: RunRecord) -> int | None:
    return run.config.bucket_size if isinstance(run.config.bucket_size, int) else None


def _bits_sent(run: RunRecord) -> float | None:
    bits = mean_bits([run])
    code = sent_code(bits)
    return None if code is None else bits[code]


def _ratio(run: RunRecord) -> float | None:
    bits = _bits_sent(run)
    return 32 / bits if bits else None


def _megabytes(run: RunRecord) -> float | None:
    bits = _bits_sent(run)
    return None if bits is None else bits * run.result["coordinates_sent"] / run.config.nodes / 8e6


def _down(name: str) -> Callable[[RunRecord], float | None]:
    def value(run: RunRecord) -> float | None:
        down = run.result.get("down")
        return None if down is None else down.get(name)  # type: ignore[return-value]

    return value


def _bits_of(code: str, meaning: str = "") -> Column:
    def value(run: RunRecord) -> float | None:
        return run.result["bits_per_coordinate"].get(code)

    return Column(f"bits_per_coordinate_{code}", "float", value, meaning)


#: The columns of a row a run, before those that only some records have.
RUN_COLUMNS: tuple[Column, ...] = (
    Column("run_key", "text", "key", "name of the run, 12 hexadecimal digits"),
    Column("schema", "int", "SCHEMA", "of the record"),
    Column("status", "text", "status", "done or diverged"),
    Column("is_stale", "bool", "is_stale", "made with other versions of the lab's components"),
    Column("preset", "text", "config.preset"),
    Column("dataset", "text", "config.dataset"),
    Column("model", "text", "config.model"),
    Column("method", "text", "config.method", "compressor and algorithm, in words"),
    Column("compressor", "text", "config.compressor", "null: fp32, or as the columns from rounding on say"),
    Column("algorithm", "text", "config.algorithm", "what nodes do with what they exchange"),
    Column("collective", "text", "config.collective", "how messages travel: all-gather or two-phase"),
    Column("plugins", "text", lambda run: "+".join(run.config.plugins), "code from outside, joined by +"),
    Column("nodes", "int", "config.nodes", "N"),
    Column("seed", "int", "config.seed"),
    Column("magnitude_bits", "int", _bits, "b; null for fp32 and for methods without bits"),
    Column("num_levels", "int", _levels, "s"),
    Column("is_full_precision", "bool", "config.is_full_precision", "fp32 gradients"),
    Column("rounding", "text", "config.rounding", "stochastic or nearest"),
    Column("error_feedback", "bool", "config.error_feedback", "false where compressor names the method"),
    Column("norm", "text", "config.norm", "l2 or max"),
    Column("bucket_size", "text", "config.bucket_size", "coordinates of a norm: a number, tensor or model"),
    Column("bucket_coordinates", "int", _bucket_coordinates, "the number, where it is one"),
    Column("convention", "text", _convention, "how bits name levels"),
    Column("raw_tensors_up_to_coordinates", "int", "config.raw_tensors_up_to", "smaller ones go in float32"),
    Column("epochs_planned", "int", "config.epochs"),
    Column("global_batch_images", "int", "config.global_batch", "as configured"),
    Column("step_batch_images", "int", "config.batch_size", "images a step at all nodes together"),
    Column("learning_rate", "float", "config.learning_rate", "as configured"),
    Column("peak_learning_rate", "float", "config.peak_learning_rate", "after the warm-up"),
    Column("schedule", "text", "config.schedule", "course of the learning rate after the warm-up"),
    Column("warmup_share", "float", "config.warmup", "of all steps"),
    Column("momentum", "float", "config.momentum"),
    Column("nesterov", "bool", "config.nesterov"),
    Column("weight_decay", "float", "config.weight_decay"),
    Column("scaling", "text", "config.scaling", "strong or weak"),
    Column("split", "text", "config.split", "which images each node has: iid, shards:K or dirichlet:ALPHA"),
    Column("augmentation", "text", "config.augmentation"),
    Column("engine", "text", "config.engine", "how the nodes' gradients are computed"),
    Column("precision", "text", "config.precision", "of the forward and backward pass"),
    Column("flaws", "text", lambda run: "+".join(run.config.flaws), "replayed mistakes, joined by +"),
    Column("target_accuracy_share", "float", "config.target_accuracy", "in [0, 1]"),
    Column("test_accuracy_share", "float", "result.test_accuracy", "in [0, 1]"),
    Column("validation_accuracy_share", "float", "result.validation_accuracy", "of the best epoch"),
    Column("best_epoch", "int", "result.best_epoch", "from 1; 0: no epoch was finished"),
    Column("epochs_to_target", "int", "result.epochs_to_target", "null: never reached"),
    Column("steps_to_target", "int", "result.steps_to_target", "null: never reached"),
    Column("epochs_done", "int", "result.epochs", "finished epochs"),
    Column("steps_done", "int", "result.steps"),
    Column("final_train_loss_nats", "float", "result.final_train_loss", "null: not finite"),
    Column("num_parameters", "int", "result.num_parameters", "coordinates of a gradient"),
    Column("coordinates_sent", "int", "result.coordinates_sent", "by all nodes in all steps"),
    Column("coordinates_sent_down", "int", _down("coordinates"), "by owners of shards, or a server"),
    Column("bits_per_coordinate_down", "float", _down("bits"), "of whole messages of these"),
    Column("num_test", "int", "result.num_test", "test images; null in older runs"),
    *(_bits_of(code, f"bits under {code}, norms included") for code in _CODES),
    Column("bits_per_coordinate_sent", "float", _bits_sent, "message, else the shortest code, else fp32"),
    Column("compression_ratio", "float", _ratio, "32 / bits_per_coordinate_sent"),
    Column("megabytes_sent_per_node", "float", _megabytes, "10^6 bytes, all steps, the node's own gradients"),
    *(Column(name, "float", f"timing.{name}", "seconds") for name in _TIMES),
    *(Column(name, kind, f"environment.{name}", "of machine or code") for name, kind in _FACTS.items()),
)

#: The columns of a row an epoch that are those of its run.
_SHARED = ("run_key", "preset", "dataset", "model", "method", "nodes", "seed")

#: The others of a row an epoch: name, type, meaning.
_EPOCH_COLUMNS: tuple[tuple[str, Kind, str], ...] = (
    ("epoch", "int", "from 1"),
    ("step", "int", "at its end, or where the run diverged"),
    ("train_loss_nats", "float", "mean over the epoch's steps; null: not finite"),
    ("validation_accuracy_share", "float", "in [0, 1]; null: the run diverged within the epoch"),
    ("cumulative_megabytes_sent_per_node", "float", "10^6 bytes: as counted; older runs: the steps' share"),
)


def run_columns(
    records: Iterable[RunRecord], link: Link | None = None, compute: float | None = None
) -> Columns:
    """Return the columns of a row a run.

    Parameters
    ----------
    records : iterable of RunRecord
        In any order.
    link : Link, optional
        Adds the columns of the modelled step over this link, by `qsgd_lab.report.analysis.communication`.
    compute : float, optional
        Seconds of a node's forward and backward pass in the modelled step; as measured by default.

    Returns
    -------
    dict of str to list
        Lists of one length, whose values have the column's type or are None; rows in the order of the keys.
        A number of type float is a float even where a record has an integer.
    """
    rows = sorted(records, key=lambda run: run.key)
    columns = (*RUN_COLUMNS, *_modelled_columns(link, compute), *_further_columns(rows))
    return {column.name: [column.value(run) for run in rows] for column in columns}


def epoch_columns(records: Iterable[RunRecord], epochs: Mapping[str, Sequence[EpochRecord]]) -> Columns:
    """Return the columns of a row an epoch.

    Parameters
    ----------
    records : iterable of RunRecord
    epochs : mapping of str to sequence of EpochRecord
        By key. A run that is not in it, or has none, has no row.

    Returns
    -------
    dict of str to list
        As of `run_columns`; rows in the order of the keys, and of the epochs of each.
    """
    shared = [column for column in RUN_COLUMNS if column.name in _SHARED]
    rows = []
    for run in sorted(records, key=lambda run: run.key):
        whole, steps = _megabytes(run), run.result["steps"]
        own = [column.value(run) for column in shared]
        last = epochs[run.key][-1] if epochs.get(run.key) else None
        for epoch in epochs.get(run.key, ()):
            sent = None if whole is None or not steps else whole * _share_sent(epoch, last, steps)
            measured = (epoch.epoch, epoch.step, epoch.train_loss, epoch.validation_accuracy, sent)
            typed = zip(measured, _EPOCH_COLUMNS, strict=True)
            rows.append([*own, *(_typed(value, kind) for value, (_, kind, _) in typed)])
    names = [*(column.name for column in shared), *(name for name, _, _ in _EPOCH_COLUMNS)]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _share_sent(epoch: EpochRecord, last: EpochRecord | None, steps: int) -> float:
    """Return the share of a run's bits that were sent by an epoch's end: as counted, or as its steps'."""
    if last is None or epoch.flows is None or last.flows is None:
        return epoch.step / steps
    sent, whole = (sum(flow.sent_bits for flow in one.values()) for one in (epoch.flows, last.flows))
    return sent / whole if whole else 0.0


def description(*, epochs: bool = False) -> list[dict[str, str]]:
    """Return name, type and meaning of the columns that are always there, in their order."""
    shared = [column for column in RUN_COLUMNS if not epochs or column.name in _SHARED]
    rows = [(column.name, column.kind, column.meaning) for column in shared]
    rows += _EPOCH_COLUMNS if epochs else []
    return [{"name": name, "type": kind, "meaning": meaning} for name, kind, meaning in rows]


def _modelled_columns(link: Link | None, compute: float | None) -> Iterator[Column]:
    """Iterate over the columns of the modelled step, whose assumptions are columns as well."""
    if link is None:
        return

    def node(part: str) -> Callable[[RunRecord], Any]:
        return lambda run: getattr(node_work([run], compute), part, None)

    def network(run: RunRecord) -> float | None:
        exchange = exchange_of([run])
        return None if exchange is None else exchange.seconds(link)

    def step(run: RunRecord) -> float | None:
        work, seconds = node_work([run], compute), network(run)
        return None if work is None or seconds is None else work.compute + work.extra + seconds

    yield Column("link_megabits_per_s", "float", lambda _run: 8e-6 * link.bandwidth)
    yield Column("link_latency_s", "float", lambda _run: link.latency)
    yield Column("modelled_compute_s", "float", node("compute"))
    yield Column("modelled_quantize_and_code_s", "float", node("extra"))
    yield Column("modelled_network_s", "float", network)
    yield Column("modelled_step_s", "float", step)


def _further_columns(rows: Sequence[RunRecord]) -> Iterator[Column]:
    """Iterate over the columns of codes, times and facts that some records have and `RUN_COLUMNS` has not."""
    for code in _unknown((run.result["bits_per_coordinate"] for run in rows), (*_CODES, "sent")):
        yield _bits_of(code)
    for name in _unknown((run.timing for run in rows), _TIMES):
        yield Column(f"time_{name}", "float", f"timing.{name}")
    for name in _unknown((run.environment for run in rows), tuple(_FACTS)):
        yield Column(f"env_{name}", "text", f"environment.{name}")


def _unknown(mappings: Iterable[Mapping[str, Any]], known: Sequence[str]) -> list[str]:
    return sorted({name for mapping in mappings for name in mapping} - set(known))


def _typed(value: Any, kind: Kind) -> Any:
    """Return a value as its column's type; None where it is of another kind, as a record's facts may be."""
    if value is None or kind == "text":
        return value if value is None else str(value)
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if kind == "float" else value if isinstance(value, int) else None
