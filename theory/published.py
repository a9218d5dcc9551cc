"""Table 1 of the QSGD paper, as data to set beside one's own runs.

References
----------
Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD: Communication-efficient SGD via gradient
quantization and encoding. NeurIPS 2017, Table 1 (8 GPUs; the LSTM's speed-up on 2 GPUs).
"""

from __future__ import annotations

from typing import NamedTuple


class PublishedRow(NamedTuple):
    """One network of QSGD's Table 1.

    Attributes
    ----------
    network, dataset : str
    million_parameters : int
    initial_rate : float
    accuracy_fp32, accuracy_qsgd : float or None
        Top-1 in percent; None where it is not given.
    bits : int or None
        As the paper counts them, the sign inside: 4 is s = 7 here.
    speed_up : float
        Over full precision; projected where there is no accuracy.
    """

    network: str
    dataset: str
    million_parameters: int
    initial_rate: float
    accuracy_fp32: float | None
    accuracy_qsgd: float | None
    bits: int | None
    speed_up: float


QSGD_TABLE_1 = (
    PublishedRow("AlexNet", "ImageNet", 62, 0.07, 59.50, 60.05, 4, 2.05),
    PublishedRow("ResNet152", "ImageNet", 60, 1.0, 77.0, 76.74, 8, 1.56),
    PublishedRow("ResNet50", "ImageNet", 25, 1.0, 74.68, 74.76, 4, 1.26),
    PublishedRow("ResNet110", "CIFAR-10", 1, 0.1, 93.86, 94.19, 4, 1.10),
    PublishedRow("BN-Inception", "ImageNet", 11, 3.6, None, None, None, 1.16),
    PublishedRow("VGG19", "ImageNet", 143, 0.1, None, None, None, 2.25),
    PublishedRow("LSTM", "AN4", 13, 0.5, 81.13, 81.15, 4, 2.0),
)
