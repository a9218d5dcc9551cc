"""The hook for `DistributedDataParallel`: gradients are sent compressed, with error feedback.

``QSGDHook(bits=4).register(ddp)`` replaces the all-reduce of DDP's buckets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab import __version__
from qsgd_lab.compressors import FullPrecision
from qsgd_lab.compressors.protocol import Compressor
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.bucket_exchange import Bucket, Gathered, Sharded
from qsgd_lab.distributed.bucket_messages import LAYOUTS, of_one_message
from qsgd_lab.distributed.costs import fastest
from qsgd_lab.distributed.gradient_layout import Run
from qsgd_lab.distributed.handshake import agree_on_loading, shake_hands
from qsgd_lab.distributed.hook_arguments import (
    NOT_REGISTERED,
    SEVERAL_BUCKETS,
    check_arguments,
    facts_of_ddp,
    takes_whole_model,
)
from qsgd_lab.distributed.hook_parameters import HookParameters
from qsgd_lab.distributed.hook_state import STATE_VERSION, Expected, loaded
from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane
from qsgd_lab.distributed.pipeline import Pipeline
from qsgd_lab.distributed.residual import Residual
from qsgd_lab.distributed.statistics import Statistics
from qsgd_lab.errors import PeerError, UsageError
from qsgd_lab.exchange.two_phase import check_two_phase

Vector = NDArray[np.float32]

#: Raised when ranks of this code and of earlier code would not read each other.
_SENT_VERSION = 2
ALL_GATHER, TWO_PHASE, FASTEST = Gathered.name, Sharded.name, "fastest"
COLLECTIVES = ("auto", ALL_GATHER, TWO_PHASE, FASTEST)


class QSGDHook:
    """A communication hook with the state that it needs; one for each model.

    Parameters
    ----------
    bits : int
        Magnitude bits of QSGD: s = 2**bits - 1 levels. Left aside where `compressor` is given.
    compressor : str or Compressor, optional
        Any method of the lab, such as ``"ef(top-k(fraction=0.01))"``; ``ef(...)`` means `error_feedback`.
    norm, bucket_size, rounding, stream_version
        Of QSGD, as in `qsgd_lab.quantize`.
    error_feedback : bool
        Keep what was not sent, and add it to the next gradient.
    layout : {"fixed", "auto", "ranged"}
        Of QSGD's messages: "fixed" takes the least time, "ranged" the fewest bytes, for slow links; "auto"
        has Elias's codes where they are shorter.
    collective : {"auto", "all-gather", "two-phase", "fastest"}
        "all-gather": every rank receives every rank's message. "two-phase": ranks add up a shard each,
        quantize its mean again, and send it to all; they keep what that loses. "auto": the latter above two
        ranks, where it sends less, so that the result follows from the settings. "fastest": what takes less
        time by the costs that `register` measures; the result then depends on the machines.
    raw_up_to : int
        Tensors of at most so many coordinates go in float32.
    exclude : callable, optional
        (name, parameter) -> True for those that go in float32.
    warmup_steps : int
        Synchronisations in float32 at the beginning.
    skip_nonfinite : bool
        A synchronisation with a NaN or an infinity at some rank leaves the residuals as they were, for
        optimizers that skip it. All ranks see the same, since all have the same mean.
    scaler : torch.amp.GradScaler, optional
        Residuals are rescaled when its scale changes.
    seed : int
        Of the random words; rank, synchronisation and parameter complete the stream.
    timeout_s : float
        After so long without an answer a rank is taken for lost.

    Notes
    -----
    Messages are added in the order of ranks, so that all have the same gradient to the bit. Those of another
    device go through host memory. Under ``find_unused_parameters`` a mask says what had a gradient.

    References
    ----------
    Alistarh et al., NeurIPS 2017; Karimireddy et al., ICML 2019 (error feedback).
    """

    def __init__(
        self,
        bits: int = 4,
        *,
        compressor: str | Compressor | None = None,
        norm: str = "max",
        bucket_size: int | str = 512,
        rounding: str = "stochastic",
        stream_version: int = 1,
        error_feedback: bool = True,
        layout: str = "fixed",
        collective: str = "auto",
        raw_up_to: int = 1024,
        exclude: Callable[[str, nn.Parameter], bool] | None = None,
        warmup_steps: int = 0,
        skip_nonfinite: bool = True,
        scaler: Any = None,
        seed: int = 0,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        check_arguments(locals())
        for name, value, known in (("layout", layout, LAYOUTS), ("collective", collective, COLLECTIVES)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of: {', '.join(known)}")
        if compressor is None:
            options = f"bits={bits},norm={norm},bucket_size={bucket_size},rounding={rounding}"
            compressor = f"qsgd({options},stream_version={stream_version})"
        if isinstance(compressor, str):
            method = COMPRESSORS.parse(compressor)
            self.spec, made = str(method), method.make()
        else:
            self.spec, made = repr(compressor), compressor
        made, has_feedback = of_one_message(made, self.spec)
        self.compressor, error_feedback = made, bool(error_feedback or has_feedback)
        if collective in (TWO_PHASE, FASTEST):
            check_two_phase(made)
        self.error_feedback, self.layout, self.collective = error_feedback, layout, collective
        self.raw_up_to, self.exclude, self.warmup_steps = int(raw_up_to), exclude, int(warmup_steps)
        self.skip_nonfinite, self.scaler = bool(skip_nonfinite), scaler
        self.seed, self.timeout_s = int(seed), float(timeout_s)
        self.synchronisation = 0
        self.seconds, self.processor_seconds, self.skipped, self.bytes_of_fp32 = 0.0, 0.0, 0, 0
        self.error: Exception | None = None
        self._lane: Lane | None = None
        self._exchange: Gathered | None = None

    @property
    def bytes_sent(self) -> int:
        """By this rank so far."""
        return self._lane.bytes_sent if self._lane else 0

    def register(self, ddp: DistributedDataParallel) -> QSGDHook:
        """Register the hook, after comparing settings and parameters with all ranks; return it.

        Raises
        ------
        UsageError
            On every rank, if ranks do not agree.
        ValueError
            If the hook is registered already, or a parameter is complex.
        PeerError
            If a rank is lost.
        """
        if self._lane is not None:
            raise ValueError("the hook is registered already: make one for each model")
        is_raw = isinstance(self.compressor, FullPrecision)
        self._parameters = HookParameters(
            ddp.module,
            lambda name, p: (
                is_raw or p.numel() <= self.raw_up_to or bool(self.exclude and self.exclude(name, p))
            ),
        )
        size = self._parameters.num_coordinates
        self._masks = bool(ddp.find_unused_parameters)
        self._residual = Residual(size if self.error_feedback else 0)
        self._means: Vector = np.empty(size, np.float32)
        self._has_begun, self._finite = False, True
        self._scale = self._current_scale()
        self._lane, self._pipeline = Lane(self.timeout_s, ddp.process_group), Pipeline()
        shake_hands(
            self._lane,
            {
                "the version of qsgd-lab": __version__,
                "the form of what is sent": _SENT_VERSION,
                "the compressor": self.spec,
                "error feedback": self.error_feedback,
                "the layout": self.layout,
                "the seed": self.seed,
                "warm-up steps": self.warmup_steps,
                "the collective": self.collective,
                "skip_nonfinite": self.skip_nonfinite,
                "the scale of gradients": self._scale,
                **facts_of_ddp(ddp),
                **self._parameters.facts(),
            },
        )
        self._lane.measure()
        self._make_exchange(self._chosen_collective())
        if self._masks:
            self._parameters.watch()
        ddp.register_comm_hook(self, _hook)
        return self

    def _chosen_collective(self) -> str:
        """Return all-gather or two-phase: what was asked for, or by the number of ranks, or by costs."""
        assert self._lane is not None
        if self.collective == FASTEST and self._lane.network is not None:
            self._make_exchange(ALL_GATHER)
            assert self._exchange is not None
            costs = self._exchange.costs()
            return fastest(self._lane.size, self._parameters.num_coordinates, self._lane.network, costs)
        if self.collective == "auto":
            return TWO_PHASE if self._lane.size > 2 else ALL_GATHER
        return self.collective

    def _make_exchange(self, collective: str) -> None:
        assert self._lane is not None
        kind = Sharded if collective == TWO_PHASE else Gathered
        arguments = (self.compressor, self.layout, self.seed, self._parameters.shapes, self._lane)
        self._exchange = kind(*arguments, self._residual if self.error_feedback else None)
        self._owned = Residual(self._residual.now.size if kind is Sharded else 0)
        if isinstance(self._exchange, Sharded):
            self._exchange.owned = self._owned

    def close(self) -> None:
        """End the hook's thread; a bucket that is still on its way has an error instead of a mean."""
        if self._lane is not None:
            self._lane.close()
            self._parameters.close()
            self._pipeline.fail(PeerError("the hook was closed in the middle of a step"))

    def check(self) -> None:
        """Raise the error that the hook met, if any: torch shows its text, and loses its type."""
        if self.error is not None:
            raise self.error

    def statistics(self) -> Statistics:
        """Return what has been done so far."""
        network = None if self._lane is None else self._lane.network
        return Statistics(
            self.synchronisation,
            self.bytes_sent,
            self.bytes_of_fp32,
            self.seconds,
            self.skipped,
            float(np.linalg.norm(self._residual.now.astype(np.float64))),
            self.processor_seconds,
            None if self._exchange is None else self._exchange.name,
            None if network is None else network.latency,
            None if network is None else network.bandwidth,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's state: tensors, numbers and text, as ``torch.load(weights_only=True)`` takes."""
        if self._lane is None or self._exchange is None:
            raise ValueError(NOT_REGISTERED)
        return {
            "version": STATE_VERSION,
            "compressor": self.spec,
            "step": self.synchronisation,
            "world": self._lane.size,
            "rank": self._lane.rank,
            "names": list(self._parameters.names),
            "collective": self._exchange.name,
            "residual": torch.from_numpy(self._residual.now.copy()),
            "owned": torch.from_numpy(self._owned.now.copy()),
            "scale": self._scale,
        }

    def load_state_dict(self, *states: dict[str, Any]) -> None:
        """Continue from a state, after `register`; all ranks call this together, and compare their steps.

        Parameters
        ----------
        *states : dict
            This rank's state; or, to go on with another number of ranks, those of all ranks before: each rank
            then begins with their residuals' mean, which keeps what all have not sent.

        Raises
        ------
        ValueError
            If a state is damaged, or of another model, compressor or rank, or of another number of ranks and
            alone. The hook is then as it was.
        UsageError
            On every rank, if the states are not of one step.
        PeerError
            If a rank loads none.
        """
        if self._lane is None:
            raise ValueError(NOT_REGISTERED)
        names, size, rank = self._parameters.names, self._lane.size, self._lane.rank
        found = loaded(states, Expected(self.spec, names, self._residual.now.size, size, rank))
        agree_on_loading(self._lane, found.facts())
        if self.collective == FASTEST and len(states) == 1:  # goes on as it began
            self._make_exchange(found.collective)
        unsent, owned = found.unsent(size, owns=self._owned.now.size > 0)
        self._residual.put(unsent)
        self._owned.put(owned)
        self.synchronisation, self._scale = found.step, found.scale

    def _current_scale(self) -> float:
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def _submit(self, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        """Begin to agree on a bucket; called by DDP in the backward pass."""
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        if takes_whole_model(self.compressor) and not (bucket.index() == 0 and bucket.is_last()):
            self.error = self.error or UsageError(SEVERAL_BUCKETS)
        if self.error is not None:
            future.set_exception(self.error)  # type: ignore[arg-type]
            return future
        assert self._lane is not None
        # All that is asked of the bucket is asked here: DDP may rebuild it.
        buffer = bucket.buffer()
        indices = self._parameters.indices_of(bucket.parameters())
        used = self._parameters.take_used(indices) if self._masks else None
        self._lane.submit(self._work, buffer, indices, used, bucket.is_last(), future)
        return future

    def _work(
        self,
        buffer: torch.Tensor,
        indices: tuple[int, ...],
        used: list[bool] | None,
        is_last: bool,
        future: torch.futures.Future[torch.Tensor],
    ) -> None:
        """Begin a bucket, and go on with those before it; after the last one, end all."""
        start, processor = time.perf_counter(), time.thread_time()
        self._pipeline.add(self._agree(buffer, indices, used), buffer, future)
        try:
            if self.error is not None:  # of a bucket before it
                raise self.error
            self._pipeline.advance(to_the_end=is_last)
            if is_last:
                self._end_step()
        except Exception as error:
            self.error = error
            self._pipeline.fail(error)
        self.seconds += time.perf_counter() - start
        self.processor_seconds += time.thread_time() - processor
        self._pipeline.release()  # last: DDP goes on, and what is counted may be read

    def _begin_step(self) -> None:
        self._has_begun = True
        scale = self._current_scale()
        if scale != self._scale:
            for residual in (self._residual, self._owned):
                residual.rescale(scale / self._scale)
            self._scale = scale

    def _end_step(self) -> None:
        self.skipped += not self._finite
        if self._finite or not self.skip_nonfinite:
            self._residual.settle()
            self._owned.settle()
        self.synchronisation += 1
        self._finite, self._has_begun = True, False

    def _agree(
        self, buffer: torch.Tensor, indices: tuple[int, ...], used: list[bool] | None
    ) -> Generator[None, None, None]:
        """Replace one bucket's vector by the mean over all ranks; yield while something is on its way."""
        assert self._lane is not None and self._exchange is not None
        if not self._has_begun:
            self._begin_step()
        on_host = buffer.detach().float().cpu()
        vector: Vector = on_host.numpy()
        runs = self._parameters.runs(indices, is_warm=self.synchronisation < self.warmup_steps)
        mask = np.array(used or (), np.uint8)
        vectors = [run.take(vector) for run in runs]
        # A run that is one piece of the bucket is overwritten there.
        outs = [vector[run.places[0]] if len(run.places) == 1 else self._means[run.kept] for run in runs]
        self.bytes_of_fp32 += 8 * vector.size * (self._lane.size - 1) // self._lane.size
        agreed = yield from self._exchange.mean(Bucket(runs, vectors, outs, self.synchronisation, mask))
        self._finite &= agreed.is_finite
        for run, mean in zip(runs, outs, strict=True):
            if run.is_raw:
                self._keep(run.kept)
            if len(run.places) > 1:
                run.put(mean, vector)
        if used is not None:
            self._forget_unused(runs, vector, dict(zip(indices, agreed.used, strict=True)))
        if on_host.data_ptr() != buffer.data_ptr():
            buffer.copy_(on_host)

    def _keep(self, part: slice) -> None:
        """Leave a part of the residuals as it was before the step."""
        self._residual.keep(part)
        self._owned.keep(part)

    def _forget_unused(self, runs: list[Run], vector: Vector, used: dict[int, Any]) -> None:
        """Undo what was done for parameters that had a gradient at no rank: DDP drops their mean."""
        for run in runs:
            for index, (place, kept) in enumerate(run.parts(), start=run.first):
                if not used[index]:
                    vector[place] = 0
                    self._keep(kept)


# Not annotated: DDP compares an annotation with the class itself, and here annotations are text.
def _hook(state, bucket):  # type: ignore[no-untyped-def]
    return state._submit(bucket)
