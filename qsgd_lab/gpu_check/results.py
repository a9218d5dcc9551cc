"""The file that a run leaves behind: ``benchmarks/results/<device>.json``, from which docs/gpu.md is made."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
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
