"""Fixtures of the load engine's tests; what stands behind them is in ``load_servers``."""

from load_servers import load_fixture, serve

__all__ = ["load_fixture", "serve"]
