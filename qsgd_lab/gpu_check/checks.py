"""All checks, in the order in which they are run."""

from __future__ import annotations

from qsgd_lab.gpu_check import codec_checks, quantizer_checks
from qsgd_lab.gpu_check.cases import Check

CHECKS: list[tuple[str, Check]] = [*quantizer_checks.CHECKS, *codec_checks.CHECKS]
