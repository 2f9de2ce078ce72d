"""The model's making, asked of the `textcnn-export` program: what can be made where, and its progress line by line."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

from serving_ctl.config import ModelSettings
from serving_ctl.errors import ConfigError, MissingExtra

PROGRAM = "textcnn_export"
END_LIMIT_S = 10.0
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
KEPT_LINES = 20


def can_export(settings: ModelSettings) -> bool:
    """True when there is nothing yet at the settings' model folder and its name is one the program takes."""
    path = Path(settings.path)
    is_free = not path.exists() or not any(path.iterdir())
    return is_free and bool(MODEL_NAME.fullmatch(path.name))


async def export_model(settings: ModelSettings, say: Callable[[str], None]) -> None:
    """Train and export the text CNN to the settings' folder; ``say`` gets each line of progress.

    Cancelling ends the program, which leaves nothing behind. Raises MissingExtra or ConfigError.
    """
    if importlib.util.find_spec("tensorflow") is None or importlib.util.find_spec(PROGRAM) is None:
        raise MissingExtra("exporting the model")
    path = Path(settings.path)
    arguments = ("-m", PROGRAM, "--out", str(path.parent), "--model-name", path.name)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        last = await _told(process, say)
        if await process.wait():
            raise ConfigError(f"the model could not be exported: {last or 'textcnn-export said nothing.'}")
    finally:
        await _ended(process)


async def _told(process: asyncio.subprocess.Process, say: Callable[[str], None]) -> str:
    """Hand on every line, also those that overwrite each other; returns the last one."""
    last, rest = "", ""
    assert process.stderr
    while chunk := await process.stderr.read(4096):
        *lines, rest = re.split(r"[\r\n]+", rest + chunk.decode(errors="replace"))
        for text in lines[-KEPT_LINES:]:
            if text.strip():
                last = text.strip()
                say(last)
    return rest.strip() or last


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End the program if it still runs."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
