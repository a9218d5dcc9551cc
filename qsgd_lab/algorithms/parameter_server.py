"""Synchronous SGD through a parameter server that compresses what it sends back, too.

Up goes each node's compressed gradient; the server adds what its last message lacked to their mean, and sends
that down through a compressor of its own. Everybody steps along what came down.

References
----------
Tang, Lian, Yu, Zhang, Liu: DoubleSqueeze. ICML 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from qsgd_lab.algorithms.contraction import require_contraction, unknown_contraction
from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters, compressors_view
from qsgd_lab.algorithms.synchronous import Synchronous
from qsgd_lab.compressors import COMPRESSORS, Compressor, FullPrecision
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.registry import Method, Option


class ParameterServer(Synchronous):
    """The nodes' gradients up, their compressed mean down; the server keeps what was not sent.

    Parameters
    ----------
    down : str
        Compressor of the mean; none: float32.
    """

    is_elementwise = True
    uses_server = True

    def __init__(self, down: str = "") -> None:
        self.down = COMPRESSORS.parse(down).make() if down else FullPrecision()
        require_contraction(self.down)

    def warnings(self, compressor: Compressor) -> Iterator[str]:
        """Warn of what is sent down if it is not known to be a contraction."""
        yield from super().warnings(compressor)
        yield from (f"down: {line}" for line in unknown_contraction(self.down))

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,)."""
        super().begin(parameters, exchange, settings)
        self.downlink = exchange.server(self.down)
        self.residual = torch.zeros_like(parameters)[None]

    def agree(self, gradients: torch.Tensor | None, step: int) -> None:
        """Average the gradients at the server, and write what comes down."""
        super().agree(gradients, step)
        self.residual += self.mean
        self.downlink.partial_mean(compressors_view(self.residual), step, compressors_view(self.mean))

    def arrays(self) -> Arrays:
        """Return the momentum, and what the server has not sent."""
        down = {f"down.{name}": array for name, array in self.downlink.arrays().items()}
        return {**super().arrays(), **down, "residual": self.residual.cpu().numpy()}

    def restore(self, arrays: Arrays) -> None:
        """Continue between two steps."""
        super().restore(arrays)
        self.residual.copy_(torch.from_numpy(np.array(arrays["residual"])))
        down = {name: array for name, array in arrays.items() if name.startswith("down.")}
        self.downlink.restore({name.removeprefix("down."): array for name, array in down.items()})


def _label(options: Mapping[str, Any]) -> str:
    return f"parameter server (down {options['down'] or 'fp32'})"


METHOD = Method(
    "parameter-server",
    ParameterServer,
    (
        Option(
            "down",
            str,
            "",
            "compressor of the mean that is sent back; none: float32",
            names=lambda: COMPRESSORS,
        ),
    ),
    _label,
    summary="compressed gradients up, their compressed mean down, with a residual at the server",
    source="Tang et al., ICML 2019",
    theory="qsgd_lab.theory.error_feedback",
)
