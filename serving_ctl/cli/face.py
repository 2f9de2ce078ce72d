"""What the command line leaves to the terminal UI, which it does not import."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec


class TuiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal UI is opened with."""

    config: Path | None = None
    theme: str | None = None
    replay: Path | None = None
    speed: float = 1.0
    """Replay speed; 0 plays all at once."""


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """The terminal UI's entrances."""

    open_tui: Callable[[TuiOptions], int]
    """Opens it on this terminal; returns the exit code. Raises ConfigError."""
    check_theme: Callable[[str], None]
    """Raises ConfigError for a theme that does not exist."""
    serve_web: Callable[[TuiOptions, str, int, Callable[[str], None]], Coroutine[Any, Any, None]]
    """Serves it to browsers on host and port until cancelled; the callable gets the address once it is served.

    Raises ConfigError, MissingExtra, and ServerStartError when the port cannot be listened on."""
