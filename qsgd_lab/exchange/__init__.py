"""Exchanges: the mean of N nodes' vectors, simulated or on real ranks."""

from __future__ import annotations

from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.exchange.two_phase import TwoPhaseExchange

__all__ = ["Exchange", "SimulatedExchange", "TwoPhaseExchange"]
