"""From a stored configuration to a record: one block of repetitions."""

from __future__ import annotations

import math
import time

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.problems.registry import problem_entry, problem_origins
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.runs.problem_record import ProblemConfig, ProblemRecord
from qsgd_lab.traffic import Flow


def run_block(config: ProblemConfig) -> ProblemRecord:
    """Simulate the repetitions of a configuration.

    Raises
    ------
    ValueError
        If a method is not known, or other plug-ins are loaded than the configuration names.
    """
    algorithm, compressor = ALGORITHMS.parse(config.algorithm), COMPRESSORS.parse(config.compressor)
    if plugins_of(config.problem, algorithm.origins, compressor.origins) != config.plugins:
        raise ValueError(
            f"the run was planned with {config.plugins}; other plug-ins are loaded: plan it again"
        )
    start = time.process_time()
    trace = simulate(
        problem_entry(config.problem).make(config.nodes, config.split, config.seed),
        algorithm,
        compressor,
        nodes=config.nodes,
        num_steps=config.steps,
        repeats=range(config.first_repeat, config.first_repeat + config.repeats),
        seed=config.seed,
        rate_scale=config.rate_scale,
    )
    # Not a number is as far from the optimum as can be: a method that ends there has diverged.
    errors = [[math.inf if math.isnan(e) else e for e in row] for row in trace.errors.tolist()]
    return ProblemRecord(
        config=config,
        steps=trace.steps.tolist(),
        rounds=trace.rounds.tolist(),
        sent_bits=trace.sent_bits.tolist(),
        received_bits=trace.received_bits.tolist(),
        errors=errors,
        flows={
            name: {field: [getattr(flow, field) for flow in flows] for field in Flow._fields}
            for name, flows in trace.flows.items()
        },
        seconds=time.process_time() - start,
    )


def plugins_of(problem: str, *origins: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sorted origins of a problem and of methods, as far as they are not the package's own."""
    return tuple(sorted({*problem_origins(problem), *(origin for each in origins for origin in each)}))
