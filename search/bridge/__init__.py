"""What joins Ray to the study? Ray's interfaces, and between them the one thing that decides."""

from search.bridge.interfaces import BridgeScheduler, BridgeSearcher, BridgeStopper
from search.bridge.session import Bridge

__all__ = ["Bridge", "BridgeScheduler", "BridgeSearcher", "BridgeStopper"]
