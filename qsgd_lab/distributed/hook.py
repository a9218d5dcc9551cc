"""The hook for `DistributedDataParallel`: gradients are sent compressed, with error feedback.

``QSGDHook(bits=4).register(ddp)`` replaces the all-reduce of DDP's buckets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from qsgd_lab import __version__
from qsgd_lab.compressors import ErrorFeedback
from qsgd_lab.compressors.protocol import Compressor
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.bucket_exchange import Gathered, Sharded
from qsgd_lab.distributed.gradient_layout import Run, runs_of
from qsgd_lab.distributed.handshake import shake_hands
from qsgd_lab.distributed.lane import DEFAULT_TIMEOUT_S, Lane
from qsgd_lab.distributed.statistics import Statistics
from qsgd_lab.exchange.two_phase import check_two_phase

Vector = NDArray[np.float32]

_STATE_VERSION = 1
TWO_PHASE = "two-phase"
COLLECTIVES = ("auto", "all-gather", TWO_PHASE)


class QSGDHook:
    """A communication hook with the state that it needs; one for each model.

    Parameters
    ----------
    bits : int
        Magnitude bits of QSGD: s = 2**bits - 1 levels. Left aside where `compressor` is given.
    compressor : str or Compressor, optional
        Any method of the lab, such as ``"ef(top-k(fraction=0.01))"``; ``ef(...)`` means `error_feedback`.
    norm, bucket_size, rounding
        Of QSGD, as in `qsgd_lab.quantize`.
    error_feedback : bool
        Keep what was not sent, and add it to the next gradient.
    layout : {"fixed", "auto"}
        Of QSGD's messages: "fixed" takes the least time, "auto" is shorter.
    collective : {"auto", "all-gather", "two-phase"}
        "all-gather": every rank receives every rank's message. "two-phase": ranks add up a shard each,
        quantize its mean again, and send it to all; they keep what that loses. "auto": the latter above two
        ranks, where it sends less.
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
    same gradient to the bit. Messages are made, sent and added in one thread, in order. Gradients on another
    device go through host memory. Under ``find_unused_parameters`` a mask says which parameters had a
    gradient; the residual of one that had none at any rank is left as it was.

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
        if layout not in ("fixed", "auto"):
            raise ValueError(f"layout is {layout!r}; it must be 'fixed' or 'auto'")
        if collective not in COLLECTIVES:
            raise ValueError(f"collective is {collective!r}; it must be one of: {', '.join(COLLECTIVES)}")
        if compressor is None:
            compressor = f"qsgd(bits={bits},norm={norm},bucket_size={bucket_size},rounding={rounding})"
            self.spec = str(COMPRESSORS.parse(compressor))
        else:
            self.spec = (
                str(COMPRESSORS.parse(compressor)) if isinstance(compressor, str) else repr(compressor)
            )
        made = COMPRESSORS.parse(compressor).make() if isinstance(compressor, str) else compressor
        if isinstance(made, ErrorFeedback):
            if (made.unit, made.beta, made.decay) != ("gradient", 1, 1):
                raise ValueError(
                    f"{self.spec}: the hook knows no learning rate and keeps all that was not sent: "
                    "write ef(...) without unit, beta and decay"
                )
            made, error_feedback = made.inner, True
        if made.interactive:
            raise ValueError(f"{self.spec} takes several rounds; the hook sends one message a bucket")
        self.compressor: Compressor = made
        if collective == TWO_PHASE:
            check_two_phase(made)
        self.error_feedback, self.layout, self.collective = error_feedback, layout, collective
        self.raw_up_to, self.exclude, self.warmup_steps = raw_up_to, exclude, warmup_steps
        self.skip_nonfinite, self.scaler, self.seed, self.timeout_s = skip_nonfinite, scaler, seed, timeout_s
        self.synchronisation = 0
        self.seconds, self.processor_seconds, self.skipped, self.bytes_of_fp32 = 0.0, 0.0, 0, 0
        self.error: Exception | None = None
        self._lane: Lane | None = None
        self._exchange: Gathered | None = None

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
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        excluded = [self.exclude is not None and self.exclude(name, p) for name, p in named]
        self._raw = [size <= self.raw_up_to or out for size, out in zip(sizes, excluded, strict=True)]
        self._masks = bool(getattr(ddp, "find_unused_parameters", False))
        self._residual: Vector = np.zeros(int(self._starts[-1]) if self.error_feedback else 0, np.float32)
        self._before: tuple[Vector, Vector] | None = None
        self._scale = self._current_scale()
        self._finite = True
        self._lane = Lane(self.timeout_s)
        self._make_exchange()
        shake_hands(
            self._lane,
            {
                "the version of qsgd-lab": __version__,
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
        ddp.register_comm_hook(self, _hook)
        return self

    def _make_exchange(self) -> None:
        """Choose the collective: two phases where they send less, if nothing else was asked for."""
        assert self._lane is not None
        arguments = (self.compressor, self.layout, self.seed, self._shapes, self._lane)
        is_sharded = self.collective == TWO_PHASE or (
            self.collective == "auto" and self._lane.size > 2 and not self.compressor.decodes_differences
        )
        self._owned: Vector = np.zeros(self._residual.size if is_sharded else 0, np.float32)
        if is_sharded:
            self._exchange = Sharded(*arguments)
            self._exchange.residual = self._owned if self.error_feedback else None
        else:
            self._exchange = Gathered(*arguments)

    def close(self) -> None:
        """End the hook's thread."""
        if self._lane is not None:
            self._lane.close()

    def check(self) -> None:
        """Raise the error that the hook met, if any: torch shows its text, and loses its type."""
        if self.error is not None:
            raise self.error

    def statistics(self) -> Statistics:
        """Return what has been done so far."""
        return Statistics(
            self.synchronisation,
            self._lane.bytes_sent if self._lane else 0,
            self.bytes_of_fp32,
            self.seconds,
            self.skipped,
            float(np.linalg.norm(self._residual.astype(np.float64))),
            self.processor_seconds,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's state: tensors, numbers and text, as ``torch.load(weights_only=True)`` takes."""
        assert self._lane is not None, "call register first"
        return {
            "version": _STATE_VERSION,
            "compressor": self.spec,
            "step": self.synchronisation,
            "world": self._lane.size,
            "rank": self._lane.rank,
            "names": list(self._names),
            "residual": torch.from_numpy(self._residual.copy()),
            "owned": torch.from_numpy(self._owned.copy()),
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
        for state in states:
            for name, here in (
                ("version", _STATE_VERSION),
                ("compressor", self.spec),
                ("names", self._names),
            ):
                if state.get(name) != here:
                    raise ValueError(f"the state has another {name} than the hook")
            if state["residual"].shape != self._residual.shape:
                raise ValueError("the state's residual has another size than the parameters")
        worlds = {state["world"] for state in states}
        if len(states) == 1 and worlds != {self._lane.size}:
            raise ValueError(
                f"the state is of {states[0]['world']} ranks, not {self._lane.size}; give the states of all "
                "of them, load_state_dict(*states)"
            )
        if len(states) > 1 and (worlds != {len(states)} or len({s["rank"] for s in states}) != len(states)):
            raise ValueError("several states must be those of all ranks of one group")
        self._residual[...] = torch.stack([state["residual"] for state in states]).mean(0).numpy()
        # States of before two-phase have no such part. What owners have not sent, every rank adds again.
        owned = [state["owned"].numpy() for state in states if "owned" in state and state["owned"].numel()]
        if len(states) > 1:
            self._residual += sum(owned, np.zeros_like(self._residual))
        elif owned and owned[0].shape == self._owned.shape:
            self._owned[...] = owned[0]
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
        indices = [self._index[id(parameter)] for parameter in bucket.parameters()]
        gradients = [gradient.numel() for gradient in bucket.gradients()]
        used = [bool(gradient.any()) for gradient in bucket.gradients()] if self._masks else None
        self._lane.submit(self._work, buffer, indices, gradients, used, bucket.is_last(), future)
        return future

    def _work(
        self,
        buffer: torch.Tensor,
        indices: list[int],
        sizes: list[int],
        used: list[bool] | None,
        is_last: bool,
        future: torch.futures.Future[torch.Tensor],
    ) -> None:
        start, processor = time.perf_counter(), time.thread_time()
        try:
            mean = self._agree(buffer.detach().float().cpu().numpy(), indices, sizes, used)
            buffer.copy_(torch.from_numpy(mean))
            if is_last:
                self._end_step()
        except Exception as error:
            self.error = error
            future.set_exception(error)  # type: ignore[arg-type]
        else:
            future.set_result(buffer)
        self.seconds += time.perf_counter() - start
        self.processor_seconds += time.thread_time() - processor

    def _end_step(self) -> None:
        if not self._finite:
            self.skipped += 1
            if self._before is not None:
                self._residual[...], self._owned[...] = self._before
        self.synchronisation += 1
        self._finite = True
        self._before = None

    def _begin_step(self) -> None:
        scale = self._current_scale()
        if scale != self._scale:
            self._residual *= np.float32(scale / self._scale)
            self._owned *= np.float32(scale / self._scale)
            self._scale = scale
        if self.skip_nonfinite and self.error_feedback:
            self._before = self._residual.copy(), self._owned.copy()

    def _agree(self, vector: Vector, indices: list[int], sizes: list[int], used: list[bool] | None) -> Vector:
        """Return the mean over all ranks of one bucket's vectors."""
        assert self._lane is not None
        assert self._exchange is not None
        if self._finite and self._before is None:
            self._begin_step()
        is_raw = [True] * len(self._raw) if self.synchronisation < self.warmup_steps else self._raw
        runs = runs_of(indices, sizes, self._starts, is_raw)
        owned = None if used is None else self._owned.copy()
        mask = np.array(used or (), np.uint8)
        owns = [self._to_send(run, vector) for run in runs]
        self.bytes_of_fp32 += 8 * vector.size * (self._lane.size - 1) // self._lane.size
        totals, sents, everywhere = self._exchange.mean(runs, owns, self.synchronisation, mask)
        by_index = dict(zip(indices, everywhere if used is not None else [True] * len(indices), strict=True))
        mean = np.zeros_like(vector)
        for run, total, sent in zip(runs, totals, sents, strict=True):
            self._finite &= bool(np.isfinite(total).all())
            self._put(run, total, sent, mean, by_index, owned)
        return mean

    def _to_send(self, run: Run, vector: Vector) -> Vector:
        """Return what this rank wants to send of a run; the residual becomes that."""
        own = np.concatenate([vector[place] for place in run.places])
        if self.error_feedback and not run.is_raw:
            own += self._residual[run.kept]
            self._residual[run.kept] = own
        return own

    def _put(
        self,
        run: Run,
        total: Vector,
        sent: Vector,
        mean: Vector,
        used: dict[int, bool],
        owned: Vector | None,
    ) -> None:
        """Write a run's mean into the bucket, and take what was sent off the residual."""
        at = 0
        for i, place in enumerate(run.places):
            size = place.stop - place.start
            kept = slice(run.kept.start + at, run.kept.start + at + size)
            if used[run.first + i]:
                mean[place] = total[at : at + size]
                if self.error_feedback and not run.is_raw:
                    self._residual[kept] -= sent[at : at + size]
            elif owned is not None and owned.size:
                # No rank had a gradient: DDP drops the mean, and residuals are what they were before.
                self._owned[kept] = owned[kept]
            at += size


# Not annotated: DDP compares an annotation with the class itself, and here annotations are text.
def _hook(state, bucket):  # type: ignore[no-untyped-def]
    return state._submit(bucket)
