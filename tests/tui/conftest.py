"""Fixtures of the terminal UI's tests; what plays and reads an app is in ``pilots``."""

from pilots import own_folders

__all__ = ["own_folders"]
