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
from qsgd_lab.distributed.gradient_layout import Run, runs_of
from qsgd_lab.distributed.handshake import shake_hands
from qsgd_lab.distributed.hook_arguments import check_arguments
from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane
from qsgd_lab.distributed.pipeline import Pipeline
from qsgd_lab.distributed.residual import Residual, check_states
from qsgd_lab.distributed.statistics import Statistics
from qsgd_lab.errors import PeerError
from qsgd_lab.exchange.two_phase import check_two_phase

Vector = NDArray[np.float32]

_STATE_VERSION = 1
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
    Every rank receives every rank's message, and adds their values in the order of ranks; so all have the
    same gradient to the bit. One thread makes, sends and adds messages, a bucket's while earlier buckets are
    on their way. Gradients on another device go through host memory. Under ``find_unused_parameters`` a mask
    says which parameters had a gradient; the residual of one that had none at any rank is left as it was.

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
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; it must be one of: {', '.join(LAYOUTS)}")
        if collective not in COLLECTIVES:
            raise ValueError(f"collective is {collective!r}; it must be one of: {', '.join(COLLECTIVES)}")
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
        self.skip_nonfinite, self.scaler, self.seed = bool(skip_nonfinite), scaler, int(seed)
        self.timeout_s = float(timeout_s)
        self.synchronisation = 0
        self.seconds, self.processor_seconds, self.skipped, self.bytes_of_fp32 = 0.0, 0.0, 0, 0
        self.error: Exception | None = None
        self._lane: Lane | None = None
        self._exchange: Gathered | None = None

    @property
    def bytes_sent(self) -> int:
        """By this rank so far."""
        return 0 if self._lane is None else self._lane.bytes_sent

    def register(self, ddp: DistributedDataParallel) -> QSGDHook:
        """Register the hook, after comparing settings and parameters with all ranks; return it.

        Raises
        ------
        UsageError
            On every rank, if ranks do not agree.
        PeerError
            If a rank is lost.
        """
        named = [(name, p) for name, p in ddp.module.named_parameters() if p.requires_grad]
        self._names = [name for name, _ in named]
        self._index = {id(parameter): i for i, (_, parameter) in enumerate(named)}
        self._shapes = [tuple(parameter.shape) for _, parameter in named]
        sizes = [parameter.numel() for _, parameter in named]
        self._sizes, self._starts = sizes, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._runs: dict[tuple[int, ...], list[Run]] = {}
        excluded = [self.exclude is not None and self.exclude(name, p) for name, p in named]
        is_raw = isinstance(self.compressor, FullPrecision)
        self._raw = [
            is_raw or size <= self.raw_up_to or out for size, out in zip(sizes, excluded, strict=True)
        ]
        self._masks = bool(getattr(ddp, "find_unused_parameters", False))
        self._residual = Residual(int(self._starts[-1]) if self.error_feedback else 0)
        self._means: Vector = np.empty(int(self._starts[-1]), np.float32)
        self._has_begun = False
        self._scale = self._current_scale()
        self._finite = True
        self._lane, self._pipeline = Lane(self.timeout_s), Pipeline()
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
                "the parameters' names": self._names,
                "the parameters' shapes": self._shapes,
                "the parameters' types": [str(parameter.dtype) for _, parameter in named],
                "which parameters go in float32": self._raw,
            },
        )
        self._lane.measure()
        self._make_exchange(self._chosen_collective())
        ddp.register_comm_hook(self, _hook)
        return self

    def _chosen_collective(self) -> str:
        """Return all-gather or two-phase: what was asked for, or by the number of ranks, or by costs."""
        assert self._lane is not None
        if self.collective == FASTEST and self._lane.network is not None:
            self._make_exchange(ALL_GATHER)
            assert self._exchange is not None
            n = int(self._starts[-1])
            return fastest(self._lane.size, n, self._lane.network, self._exchange.costs())
        if self.collective == "auto":
            return TWO_PHASE if self._lane.size > 2 else ALL_GATHER
        return self.collective

    def _make_exchange(self, collective: str) -> None:
        assert self._lane is not None
        kind = Sharded if collective == TWO_PHASE else Gathered
        arguments = (self.compressor, self.layout, self.seed, self._shapes, self._lane)
        self._exchange = kind(*arguments, self._residual if self.error_feedback else None)
        self._owned = Residual(self._residual.now.size if kind is Sharded else 0)
        if isinstance(self._exchange, Sharded):
            self._exchange.owned = self._owned

    def close(self) -> None:
        """End the hook's thread; a bucket that is still on its way has an error instead of a mean."""
        if self._lane is not None:
            self._lane.close()
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
        assert self._lane is not None and self._exchange is not None, "call register first"
        return {
            "version": _STATE_VERSION,
            "compressor": self.spec,
            "step": self.synchronisation,
            "world": self._lane.size,
            "rank": self._lane.rank,
            "names": list(self._names),
            "collective": self._exchange.name,
            "residual": torch.from_numpy(self._residual.now.copy()),
            "owned": torch.from_numpy(self._owned.now.copy()),
            "scale": self._scale,
        }

    def load_state_dict(self, *states: dict[str, Any]) -> None:
        """Continue from a state, after `register`.

        Parameters
        ----------
        *states : dict
            This rank's state; or, to go on with another number of ranks, those of all ranks before: each rank
            then begins with their residuals' mean, which keeps what all have not sent.

        Raises
        ------
        ValueError
            If a state is of another model or compressor, or of another number of ranks and alone.
        """
        assert self._lane is not None, "call register first"
        same = {"version": _STATE_VERSION, "compressor": self.spec, "names": self._names}
        check_states(states, same, self._residual.now.shape, self._lane.size)
        if self.collective == FASTEST and len(states) == 1:  # goes on as it began
            self._make_exchange(states[0].get("collective", ALL_GATHER))
        residual = torch.stack([state["residual"] for state in states]).mean(0).numpy()
        # States of before two-phase have no such part. What owners have not sent, every rank adds again.
        owned = [state["owned"].numpy() for state in states if "owned" in state and state["owned"].numel()]
        if len(states) > 1:
            residual = residual + sum(owned, np.zeros_like(residual))
        elif owned and self._owned.now.size:
            self._owned.put(owned[0])
        elif owned:  # of two phases before, of which there is one now: this rank alone has it
            residual = residual + self._lane.size * owned[0]
        self._residual.put(residual)
        self.synchronisation, self._scale = int(states[0]["step"]), float(states[0]["scale"])

    def _current_scale(self) -> float:
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def _submit(self, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        """Begin to agree on a bucket; called by DDP in the backward pass."""
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        if self.error is not None:
            future.set_exception(self.error)  # type: ignore[arg-type]
            return future
        assert self._lane is not None
        # All that is asked of the bucket is asked here: DDP may rebuild it.
        buffer = bucket.buffer()
        indices = tuple(self._index[id(parameter)] for parameter in bucket.parameters())
        used = [bool(gradient.any()) for gradient in bucket.gradients()] if self._masks else None
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
                residual.now *= np.float32(scale / self._scale)
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
        runs = self._runs_of(indices)
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

    def _runs_of(self, indices: tuple[int, ...]) -> list[Run]:
        """Return a bucket's runs, which are the same in most steps."""
        is_warm = self.synchronisation < self.warmup_steps
        key = (is_warm, *indices)
        if key not in self._runs:
            sizes, is_raw = [self._sizes[i] for i in indices], [is_warm or raw for raw in self._raw]
            self._runs[key] = runs_of(indices, sizes, self._starts, is_raw)
        return self._runs[key]

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
