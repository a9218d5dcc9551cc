"""Facts of registered methods, for listings: what `qsgd-lab methods` and docs/methods.md print."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qsgd_lab.compressors.protocol import Compressor, Layout
from qsgd_lab.ledger import Ledger
from qsgd_lab.registry import Method, Registry, Spec
from qsgd_lab.stream import Stream

#: Coordinates of the example on which factors and bits are stated.
EXAMPLE_COORDINATES = 4096


def facts(registry: Registry) -> list[dict[str, Any]]:
    """Return a row for each listed method: JSON-ready, `None` where nothing is known or nothing applies.

    Factors and bits are those of a gradient of `EXAMPLE_COORDINATES` normal coordinates in one tensor, at the
    method's defaults; a wrapper is shown around ``qsgd``.
    """
    return [_facts(registry, method) for method in registry.methods().values() if method.is_listed]


def _facts(registry: Registry, method: Method) -> dict[str, Any]:
    spec, made, problem = _example(registry, method)
    row: dict[str, Any] = {
        "name": method.name,
        "kind": "wrapper" if method.is_wrapper else registry.kind,
        "spec": str(spec),
        "label": method.name if problem else spec.label,
        "summary": method.summary,
        "options": [
            {
                "name": o.name,
                "default": o.default if isinstance(o.default, int | float) else str(o.default),
                "help": o.help,
                "choices": list(o.choices),
            }
            for o in method.options
        ],
        "source": method.source,
        "origin": method.origin,
        "theory": method.theory,
    }
    properties = ("unbiased", "variance_factor", "contraction", "bits", "aggregates")
    row |= dict.fromkeys(properties)
    try:
        return row | ({"problem": problem} if problem else _properties(made) if made else {})
    except Exception as error:  # of a plug-in's own functions
        if method.origin == "qsgd_lab":
            raise
        return row | {"problem": f"{type(error).__name__}: {error}"}


def _example(registry: Registry, method: Method) -> tuple[Spec, Any, str | None]:
    """Return a method at its defaults, what it makes, and why a plug-in's method makes nothing, if so.

    A wrapper is shown around the first of ``qsgd`` and the other compressors that it takes.
    """
    others = [m.name for m in registry.methods().values() if m.is_listed and not m.is_wrapper]
    inner = [f"({name})" for name in dict.fromkeys(("qsgd", *others))] if method.is_wrapper else [""]
    problem = None
    for wrapped in inner:
        spec = registry.parse(method.name + wrapped)
        try:
            made = spec.check()
            return spec, made if registry.kind == "compressor" else None, None
        except ValueError as error:
            if method.origin == "qsgd_lab":
                raise
            problem = problem or str(error)
    return registry.parse(method.name + inner[0]), None, problem


def _properties(compressor: Any) -> dict[str, Any]:
    return {
        "unbiased": compressor.is_unbiased,
        "variance_factor": _finite(compressor.variance_factor(EXAMPLE_COORDINATES)),
        "contraction": _finite(compressor.contraction(EXAMPLE_COORDINATES)),
        "bits": None if compressor.interactive else _bits(compressor),
        "aggregates": compressor.aggregates,
    }


def _finite(value: float | None) -> float | None:
    """Return a bound, and None where it bounds nothing: JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _bits(compressor: Compressor) -> float | None:
    """Return the bits of a coordinate of the example, in whole messages."""
    gradient = np.random.default_rng(0).standard_normal(EXAMPLE_COORDINATES, np.float32)
    payload, _ = compressor.compress(gradient, compressor.init(Layout.of(gradient.size)), Stream())
    ledger = Ledger()
    ledger.add(compressor.wire.size(payload))
    bits = ledger.bits_per_coordinate()
    return bits.get("message", bits.get("fp32"))
