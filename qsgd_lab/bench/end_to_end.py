"""Cost of exchanging a gradient beside that of computing it: eight nodes, one training step of AlexNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import qsgd_lab as ql
from qsgd_lab.bench.timing import best_time
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

NODES = 8
BATCH = 128
BUCKET_SIZE = 512


@dataclass(frozen=True)
class Share:
    """One way to agree, or the step itself.

    Attributes
    ----------
    name : str
    num_levels : int or None
        s; None for the step.
    milliseconds : float
        Processor time of one thread, for all nodes.
    share : float
        Of the step's.
    """

    name: str
    num_levels: int | None
    milliseconds: float
    share: float


def training_step() -> tuple[Callable[[], object], tuple[int, ...]]:
    """Return one step of AlexNet on 128 images of 32x32 in eager torch, and the sizes of its tensors.

    It is the whole global batch in one forward and backward pass and one update by SGD with momentum: the
    least work that any division of the batch among nodes can take.
    """
    import torch

    from qsgd_lab.models import MODELS

    torch.manual_seed(0)
    model = MODELS["alexnet"]()
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step, tuple(parameter.numel() for parameter in model.parameters())


def measure_end_to_end(all_levels: Sequence[int], repeats: int, seed: int = 0) -> Iterator[Share]:
    """Yield the step, then for each s the ways of eight nodes to agree on a gradient of its size.

    By messages: quantize and encode for each node (dense omega, and fixed width), then decode all of them
    into their sum. Fused: the same sum and the exact sizes in one pass that makes no message. All of it runs
    in this thread, and so does torch.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    step, tensor_sizes = training_step()
    whole = best_time(step, repeats)
    torch.set_num_threads(before)
    yield Share("AlexNet, a step", None, 1e3 * whole, 1.0)
    size = sum(tensor_sizes)
    gradients = np.random.default_rng(seed).standard_normal((NODES, size), dtype=np.float32)
    total = np.zeros(size, np.float32)
    for num_levels in all_levels:
        for name, code, layout in (("omega", "omega", "dense"), ("fixed", "auto", "fixed")):

            def by_message(s: int = num_levels, code: str = code, layout: str = layout) -> None:
                messages = [
                    ql.quantize_and_encode(
                        row, code=code, layout=layout, levels=s, node=node, tensor_sizes=tensor_sizes
                    )
                    for node, row in enumerate(gradients)
                ]
                ql.add_decoded(messages, total)

            seconds = best_time(by_message, repeats)
            yield Share(f"eight nodes by {name} messages", num_levels, 1e3 * seconds, seconds / whole)
        seconds = best_time(_fused(gradients, total, num_levels, tensor_sizes), repeats)
        yield Share("eight nodes, fused", num_levels, 1e3 * seconds, seconds / whole)


def _fused(
    gradients: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    total: np.ndarray[tuple[int], np.dtype[np.float32]],
    num_levels: int,
    tensor_sizes: tuple[int, ...],
) -> Callable[[], object]:
    compressor = QSGD(levels=num_levels, bucket_size=BUCKET_SIZE)
    states = compressor.init_nodes(NODES, Layout.of(total.size, tensor_sizes))
    return lambda: compressor.mean(NodeRows(gradients), states, Stream(), total, Ledger())
