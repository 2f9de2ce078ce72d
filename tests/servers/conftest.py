"""Fixtures of the lifecycle tests; what stands behind them is in ``places``."""

from places import containers, engine, image, place

__all__ = ["containers", "engine", "image", "place"]
