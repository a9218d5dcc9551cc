"""How N nodes agree on one vector, wherever they are."""

from __future__ import annotations

from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.exchange.two_phase import TwoPhaseExchange

__all__ = ["Exchange", "SimulatedExchange", "TwoPhaseExchange"]
