"""The marks of a table by their definitions, with scipy's distributions and nothing of the package.

A table is ``{method: {nodes: {seed: (accuracy, has_diverged)}}}``; "fp32" is the baseline. Accuracies and
margins are in percentage points, `step` is the points of one test image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.stats

Table = dict[str, dict[int, dict[int, tuple[float, bool]]]]

LEVEL = 0.05
FEWEST = 5


def t_tests(differences: list[float], margin: float, floor: float) -> dict[str, float] | None:
    """Return mean, standard error and p-values of paired differences; None where nothing is tested."""
    if len(differences) < FEWEST:
        return None
    error = max(float(np.std(differences, ddof=1)), floor) / math.sqrt(len(differences))
    if error <= 1e-9:
        return None
    mean = float(np.mean(differences))
    student = scipy.stats.t(len(differences) - 1)
    both = (student.sf((mean + margin) / error), student.cdf((mean - margin) / error))
    return {
        "difference": mean,
        "error": error,
        "n": len(differences),
        "p_different": float(2 * student.sf(abs(mean) / error)),
        "p_worse": float(student.cdf(mean / error)),
        "p_not_equivalent": float(max(both)),
        "p_not_near": float(both[0]),
    }


def paired(one: dict[int, Any], other: dict[int, Any], margin: float, step: float) -> dict[str, float] | None:
    """Return the tests of two cells over their common seeds."""
    common = sorted(set(one) & set(other))
    return t_tests([one[s][0] - other[s][0] for s in common], margin, step / math.sqrt(6))


def holm(p_values: dict[Any, float]) -> dict[Any, float]:
    """Return adjusted values: the k-th smallest of m times m - k + 1, never below those before it."""
    adjusted: dict[Any, float] = {}
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        own = (len(p_values) - rank) * p_values[key]
        adjusted[key] = min(1.0, max([own, *adjusted.values()]))
    return adjusted


def num_diverged(cell: dict[int, tuple[float, bool]]) -> int:
    """Return how many runs of a cell diverged."""
    return sum(has_diverged for _, has_diverged in cell.values())


def against_fp32(table: Table, margin: float, step: float) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what is found of every cell that can be set beside fp32: t tests, or counts of diverged runs."""
    tested: dict[tuple[str, int], dict[str, Any]] = {}
    counted: dict[tuple[str, int], float] = {}
    for method, cells in table.items():
        for nodes, cell in cells.items():
            reference = table.get("fp32", {}).get(nodes, {})
            if method == "fp32" or not cell or not reference:
                continue
            k, k0 = num_diverged(cell), num_diverged(reference)
            if k + k0:
                if min(len(cell), len(reference)) >= FEWEST:
                    counts = [[k, len(cell) - k], [k0, len(reference) - k0]]
                    counted[method, nodes] = float(scipy.stats.fisher_exact(counts).pvalue)
            elif found := paired(cell, reference, margin, step):
                tested[method, nodes] = found
    for p in ("p_different", "p_not_equivalent"):
        for place, adjusted in holm({place: found[p] for place, found in tested.items()}).items():
            tested[place][f"{p}_holm"] = adjusted
    for place, adjusted in holm(counted).items():
        tested[place] = {"p_divergence": counted[place], "p_divergence_holm": adjusted}
    return tested


def claim(found: dict[str, Any] | None) -> str | None:
    """Return what the t tests against fp32 allow to say."""
    if not found or "p_different_holm" not in found:
        return None
    if found["p_different_holm"] <= LEVEL:
        return "worse" if found["difference"] < 0 else "better"
    return "equivalent" if found["p_not_equivalent_holm"] <= LEVEL else None


def bold(table: Table, nodes: int, margin: float, step: float) -> set[str]:
    """Return the methods shown to be near the best of an N, and not shown to be below any other."""
    cells = {method: cells.get(nodes, {}) for method, cells in table.items()}
    fit = {method: cell for method, cell in cells.items() if cell and not num_diverged(cell)}
    pairs = {(i, j): paired(fit[i], fit[j], margin, step) for i in fit for j in fit if i != j}
    if len(fit) < 2 or None in pairs.values():
        return set()
    others = {i: [pairs[i, j] for j in fit if j != i] for i in fit}
    near = holm({i: max(found["p_not_near"] for found in others[i]) for i in fit})
    judged = against_fp32(table, margin, step)
    return {
        i
        for i in fit
        if near[i] <= LEVEL
        and min(1.0, len(others[i]) * min(found["p_worse"] for found in others[i])) > LEVEL
        and claim(judged.get((i, nodes))) != "worse"
    }


def means_over_nodes(table: Table, margin: float, step: float) -> dict[str, dict[str, float]]:
    """Return the tests of the seeds' mean differences over all N at which fp32 has runs."""
    places = [nodes for nodes, cell in table.get("fp32", {}).items() if cell]
    found: dict[str, dict[str, float]] = {}
    for method, cells in table.items():
        used = [cell for nodes in places for cell in (cells.get(nodes, {}), table["fp32"][nodes])]
        if method == "fp32" or len(places) < 2 or not all(used) or any(map(num_diverged, used)):
            continue
        seeds = sorted(set.intersection(*(set(cell) for cell in used)))
        values = [
            float(np.mean([cells[n][seed][0] - table["fp32"][n][seed][0] for n in places])) for seed in seeds
        ]
        if tests := t_tests(values, margin, step / math.sqrt(6 * len(places))):
            found[method] = tests
    for p in ("p_different", "p_not_equivalent"):
        for method, adjusted in holm({m: tests[p] for m, tests in found.items()}).items():
            found[method][f"{p}_holm"] = adjusted
    return found


def half_width(error: float, n: int, family: int) -> float:
    """Return half the width of one of `family` simultaneous 95 % intervals."""
    return float(scipy.stats.t(n - 1).ppf(1 - LEVEL / (2 * family))) * error
