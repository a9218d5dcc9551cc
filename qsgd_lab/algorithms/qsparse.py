"""EF-SGD and QSparse-local-SGD: local steps, and error feedback in units of the update.

From a common x every node takes H local steps; it wants memory_i + (x - x_i) subtracted, sends C of that and
keeps the rest as its memory. All go on from x minus the mean. H = 1 is EF-SGD with the learning rate inside
the memory: after a drop of the rate, old errors keep their size.

References
----------
Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD. ICML 2019, algorithm 2.
Basu, Data, Karakus, Diggavi: Qsparse-local-SGD. NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.contraction import require_contraction
from qsgd_lab.algorithms.local_sgd import LocalSGD, schedule_label
from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters, compressors_view
from qsgd_lab.algorithms.rounds import OPTIONS
from qsgd_lab.compressors import Compressor
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method


class QSparseLocalSGD(LocalSGD):
    """Local SGD whose nodes remember what of their model differences was not sent; momentum stays local.

    Parameters
    ----------
    **rounds
        As `qsgd_lab.algorithms.rounds.Rounds`.
    """

    is_elementwise = True
    keeps_errors = True

    def __init__(self, **rounds: Any) -> None:
        super().__init__(momentum="kept", **rounds)

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse what has residuals of its own, or no contraction."""
        require_contraction(compressor)

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (N, n); nothing is remembered yet."""
        super().begin(parameters, exchange, settings)
        self.memory = torch.zeros_like(parameters)

    def send(self, step: int) -> None:
        """Send the memory and the differences, and keep the rest."""
        self.memory += self.difference
        self.exchange.partial_mean(compressors_view(self.memory), step, compressors_view(self.mean))

    def arrays(self) -> Arrays:
        """Return the memory as well."""
        return {**super().arrays(), "memory": self.memory.cpu().numpy()}

    def restore(self, arrays: Arrays) -> None:
        """Continue in the middle of a round."""
        super().restore(arrays)
        self.memory.copy_(torch.from_numpy(np.array(arrays["memory"])))


def _ef_sgd() -> QSparseLocalSGD:
    return QSparseLocalSGD(interval=1)


METHODS = (
    Method(
        "ef-sgd",
        _ef_sgd,
        (),
        lambda _: "EF-SGD",
        summary="error feedback in units of the update, after local momentum: QSparse with H = 1",
        source="Karimireddy et al., ICML 2019",
        theory="qsgd_lab.theory.error_feedback",
    ),
    Method(
        "qsparse-local-sgd",
        QSparseLocalSGD,
        OPTIONS,
        lambda options: f"QSparse ({schedule_label(options)})",
        summary="local steps; the differences of the models with error feedback",
        source="Basu et al., NeurIPS 2019",
        theory="qsgd_lab.theory.error_feedback",
    ),
)
