"""The file that a run leaves behind: ``benchmarks/results/<device>.json``, from which docs/gpu.md is made.

The device and the versions of all software with which figures were made.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from qsgd_lab.bench.device_suite import DeviceFigure
from qsgd_lab.gpu_check.cases import Outcome

SCHEMA = 1


def file_name(device: str) -> str:
    """Return the file's name for a device's name.

    Examples
    --------
    >>> file_name("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3.json'
    """
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"


def as_json(
    device: dict[str, Any],
    versions: dict[str, str],
    date: str,
    outcomes: Sequence[Outcome],
    sanitizer: dict[str, str],
    figures: Sequence[DeviceFigure],
) -> str:
    """Return the file's content, ending in a newline.

    Parameters
    ----------
    device, versions : as in ``machine``
    date : str
        Of the run, YYYY-MM-DD.
    outcomes : of the checks
    sanitizer : tool -> what it said
    figures : of the benchmark
    """
    content = {
        "schema": SCHEMA,
        "device": device,
        "versions": versions,
        "date": date,
        "equality": [dataclasses.asdict(outcome) for outcome in outcomes],
        "sanitizer": sanitizer,
        "figures": [dataclasses.asdict(figure) for figure in figures],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def gathered(records: Sequence[dict[str, Any]], date: str) -> tuple[str, str]:
    """Return the file's content, and the device's name, from the records of the stages.

    Stages that were not run, or ran out of time, leave out what they did not find.
    """
    findings = [finding for record in records for finding in record["findings"]]
    devices = [one["device"] for one in findings if "device" in one]
    found_versions = [one["versions"] for one in findings if "versions" in one]
    device = devices[0] if devices else device_facts()
    content = as_json(
        device,
        found_versions[0] if found_versions else versions(),
        date,
        [Outcome(**one["outcome"]) for one in findings if "outcome" in one],
        {tool: said for one in findings for tool, said in one.get("sanitizer", {}).items()},
        [DeviceFigure(**one["figure"]) for one in findings if "figure" in one],
    )
    return content, str(device["name"])


def device_facts(device: int = 0) -> dict[str, Any]:
    """Return name, compute capability, memory and multiprocessors of a CUDA device, as torch knows them."""
    import torch

    facts = torch.cuda.get_device_properties(device)
    return {
        "name": facts.name,
        "compute_capability": f"{facts.major}.{facts.minor}",
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "multiprocessors": facts.multi_processor_count,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, of the packages that matter and of CUDA, as far as they are there."""
    import torch

    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda)}
    for package in ("qsgd-lab", "numba", "numba-cuda", "numpy", "torch", "triton"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
