"""Methods side by side on a problem: which blocks of repetitions there are, and what they came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.stacking import stacking_warnings
from qsgd_lab.method_text import cut_option
from qsgd_lab.problems.rate_search import RateScales, best_scale
from qsgd_lab.problems.registry import problem_entry
from qsgd_lab.problems.run import plugins_of, run_block
from qsgd_lab.registry import Spec
from qsgd_lab.runs.problem_record import BLOCK, ProblemConfig, ProblemRecord
from qsgd_lab.runs.problem_store import ProblemStore

#: Repetitions that choose the learning rate are numbered from here: none of them is reported.
FIRST_TUNING_REPEAT = 10**6
TUNING_REPEATS = 20
#: Coordinates on which contractions are judged, as before a sweep.
_ASSUMED_LONG = 100_000


@dataclass(frozen=True)
class ComparedMethod:
    """An algorithm and the compressor of its exchange."""

    algorithm: Spec
    compressor: Spec

    @classmethod
    def parse(cls, text: str) -> ComparedMethod:
        """Return what a text names, such as ``local-sgd(rounds=4,compressor=ef(top-k))``.

        Raises
        ------
        ValueError
            If it names nothing, or options that do not go together.
        """
        algorithm, compressor = cut_option(text, "compressor")
        made = cls(ALGORITHMS.parse(algorithm), COMPRESSORS.parse(compressor or "fp32"))
        made.algorithm.make().check_compressor(made.compressor.make())
        return made

    def warnings(self) -> Iterator[str]:
        """Yield a line for whatever the theory, or a measurement, says against the method."""
        compressor = self.compressor.make()
        against = self.algorithm.make().warnings(compressor)
        for line in (*stacking_warnings(compressor, _ASSUMED_LONG), *against):
            yield f"{self.algorithm} with {self.compressor}: {line}"

    @property
    def label(self) -> str:
        """The row's name: what differs from fp32 and from an exchange every step."""
        words = [self.algorithm.label, "" if self.compressor.method.name == "fp32" else self.compressor.label]
        return ", ".join(word for word in words if word) or "synchronous, fp32"


@dataclass(frozen=True)
class Settings:
    """What all methods of a comparison share.

    Attributes
    ----------
    problem : str
    steps, repeats : int
        T and R.
    seed : int
    split : str
    rate_scales : RateScales
        Factors of the problem's learning rates; of several, each method gets the one that is best for it on
        repetitions of its own.
    tuning_repeats : int
        How many repetitions choose the rate; never more than there are others.
    """

    problem: str
    steps: int
    repeats: int
    seed: int = 0
    split: str = "iid"
    rate_scales: RateScales = field(default_factory=RateScales)
    tuning_repeats: int = TUNING_REPEATS


Announce = Callable[[str], None]


class Comparison:
    """Runs what a store does not have; stopped anywhere, it goes on at the block it was in.

    Parameters
    ----------
    settings : Settings
    store : ProblemStore
    announce : callable
        Told in a few words what is run next.
    """

    def __init__(self, settings: Settings, store: ProblemStore, announce: Announce = lambda _: None) -> None:
        self.settings, self.store, self.announce = settings, store, announce
        problem_entry(settings.problem)

    def blocks(self, method: ComparedMethod, nodes: int) -> tuple[float, list[ProblemRecord]]:
        """Return the factor of the learning rate that a method got, and its repetitions."""
        scales = self.settings.rate_scales
        scale = best_scale(self.tried(method, nodes)) if scales.is_choice else scales.listed[0]
        return scale, self.run(method, nodes, scale, range(self.settings.repeats))

    def tried(self, method: ComparedMethod, nodes: int) -> dict[float, float]:
        """Return the mean final error at every factor of the rates that the search tried."""
        count = min(self.settings.tuning_repeats, self.settings.repeats)
        tuning = range(FIRST_TUNING_REPEAT, FIRST_TUNING_REPEAT + count)
        known: dict[float, float] = {}
        while wanted := self.settings.rate_scales.next(known):
            for scale in wanted:
                (block,) = self.run(method, nodes, scale, tuning)
                known[scale] = sum(block.errors[-1]) / count
        return known

    def run(self, method: ComparedMethod, nodes: int, scale: float, repeats: range) -> list[ProblemRecord]:
        """Return the repetitions of these numbers at one factor of the rates, stored or run now."""
        records = []
        for first in range(repeats.start, repeats.stop, BLOCK):
            config = self._config(method, nodes, scale, first, min(BLOCK, repeats.stop - first))
            if self.store.record(config) is None:
                tunes = FIRST_TUNING_REPEAT <= first < 2 * FIRST_TUNING_REPEAT
                numbers = f"repetitions {first} to {first + config.repeats - 1}"
                place = f"{method.label}, N = {nodes}, rate x {scale:g}"
                self.announce(f"{place}: {f'tuning, {config.repeats} repetitions' if tunes else numbers}")
            records.append(self.store.ensure(config, run_block))
        return records

    def _config(
        self, method: ComparedMethod, nodes: int, scale: float, first: int, count: int
    ) -> ProblemConfig:
        settings = self.settings
        return ProblemConfig(
            problem=settings.problem,
            nodes=nodes,
            steps=settings.steps,
            algorithm=str(method.algorithm),
            compressor=str(method.compressor),
            first_repeat=first,
            repeats=count,
            seed=settings.seed,
            rate_scale=scale,
            split=settings.split if problem_entry(settings.problem).has_examples else "iid",
            plugins=plugins_of(settings.problem, method.algorithm.origins, method.compressor.origins),
        )


def methods_of(texts: Sequence[str]) -> list[ComparedMethod]:
    """Return the methods of several texts, each once, in their order.

    Raises
    ------
    ValueError
        As `ComparedMethod.parse`.
    """
    methods = [ComparedMethod.parse(text) for text in texts]
    return list({(str(method.algorithm), str(method.compressor)): method for method in methods}.values())
