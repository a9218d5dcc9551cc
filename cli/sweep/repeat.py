"""The commands that make stored runs again, worked out from the runs and tried against the plan."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qsgd_lab.report.analysis.grouping import Group, group_records
from qsgd_lab.training.presets import PRESETS, Method, Preset, configurations, methods_of

if TYPE_CHECKING:
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.record import RunRecord

#: Field of a configuration -> the option of `reproduce` that sets it.
_OPTIONS = {
    "epochs": "--epochs",
    "global_batch": "--global-batch",
    "norm": "--norm",
    "bucket_size": "--bucket-size",
    "convention": "--convention",
    "raw_tensors_up_to": "--raw-tensors-up-to",
    "scaling": "--scaling",
    "split": "--split",
    "engine": "--engine",
    "precision": "--precision",
}
#: The text of a command, its methods, its algorithm.
_Part = tuple[list[str], tuple[Method | str, ...], str]


def repeating_commands(records: Sequence[RunRecord]) -> list[str]:
    """Return the commands that make these runs, one or more for each table of them.

    Each command is tried: its plan must hold every run that it is for. What no command makes (runs of
    plug-ins or of the user's own arrays, which need their file; runs whose preset has changed since) becomes
    a comment instead, which says so.
    """
    return [line for group in group_records(records) for line in _of_group(group)]


def _of_group(group: Group) -> Iterator[str]:
    configs = [run.config for method in group.methods for cell in method.cells for run in cell.runs]
    shared = group.shared
    preset = PRESETS.get(shared["preset"])
    plugins = sorted({plugin.partition("=")[0] for config in configs for plugin in config.plugins})
    what = f"# {len(configs)} runs of {shared['model']}, preset {shared['preset']}"
    if plugins:
        yield f"{what}: give the same command with --import, or --data, for {', '.join(plugins)}"
        return
    user_name = None if preset is None else _user_name(preset, shared["model"])
    if preset is None or user_name is None:
        yield f"{what}: this version has no such preset or model"
        return
    nodes, seeds = (sorted({getattr(config, name) for config in configs}) for name in ("nodes", "seed"))
    overrides = _overrides(preset, user_name, shared)
    common = ["qsgd-lab", "reproduce", "--preset", shared["preset"], "--model", user_name]
    common += ["--nodes", _numbers(nodes), "--seeds", _numbers(seeds)]
    if shared["dataset"] != preset.dataset:
        common += ["--dataset", shared["dataset"]]
    for name, value in overrides.items():
        common += _written(name, value)
    keys = {config.key for config in configs}
    lines = []
    for words, methods, algorithm in _parts(preset, configs):
        try:
            plan = configurations(
                shared["preset"], [user_name], nodes, methods, seeds, overrides, algorithm, shared["dataset"]
            )
        except ValueError:
            continue
        if keys & {config.key for config in plan}:
            keys -= {config.key for config in plan}
            lines.append(shlex.join([*common, *words]))
    yield from lines
    if keys:
        yield f"{what}: no command of this version makes {len(keys)} of them"


def _user_name(preset: Preset, model: str) -> str | None:
    """Return the name by which users ask a preset for a model."""
    return next((name for name, own in preset.models.items() if own == model), None)


def _overrides(preset: Preset, model: str, shared: Any) -> dict[str, Any]:
    """Return the settings that have an option and are not the preset's."""
    settings = preset.settings | preset.model_settings.get(model, {})
    defaults = {"raw_tensors_up_to": 0, "scaling": "strong", "split": "iid", "engine": "auto"}
    defaults |= {"precision": "float32", "convention": None}
    changed = {
        name: shared[name]
        for name in _OPTIONS
        if shared[name] != settings.get(name, defaults.get(name)) and shared[name] is not None
    }
    if tuple(sorted(settings.get("flaws", ()))) != tuple(shared["flaws"]):
        changed["flaws"] = tuple(shared["flaws"])
    return changed


def _written(name: str, value: Any) -> list[str]:
    if name == "flaws":
        return [word for flaw in value or ("none",) for word in ("--flaw", flaw)]
    return [_OPTIONS[name], str(value)]


def _parts(preset: Preset, configs: Iterable[RunConfig]) -> Iterator[_Part]:
    """Yield the options that ask for the methods of some runs, the preset's own first.

    `reproduce` compares a grid of bits with one rounding and with or without error feedback, or named
    compressors, always beside fp32.
    """
    found = list(configs)
    texts = tuple(dict.fromkeys(config.compressor for config in found if config.compressor))
    quantized = {(c.bits, c.rounding, c.error_feedback) for c in found if c.has_quantizer_fields}
    own = {tuple(method) for method in preset.methods if method.bits != 32}
    for algorithm in sorted({config.algorithm for config in found}, key=lambda text: text != "synchronous"):
        tail = [] if algorithm == "synchronous" else ["--algorithm", algorithm]
        has_own = own <= quantized or not (quantized or texts)
        if has_own:
            yield tail, preset.methods, algorithm
        others = quantized - own if has_own else quantized
        for rounding, feedback in sorted({(r, e) for _, r, e in others}, key=str):
            bits = sorted(b for b, r, e in quantized if (r, e) == (rounding, feedback) and b is not None)
            words = ["--bits", _numbers(bits), "--rounding", str(rounding)]
            words.append("--error-feedback" if feedback else "--no-error-feedback")
            yield [*words, *tail], methods_of(preset, bits, (str(rounding),), feedback), algorithm
        if texts:
            words = [word for text in texts for word in ("--compressor", text)]
            yield [*words, *tail], methods_of(preset, None, (), None, texts), algorithm


def _numbers(values: Sequence[int]) -> str:
    """Return numbers as the options take them, such as 0..4 or 1,2,8."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}..{values[-1]}"
    return ",".join(map(str, values))
