"""The console script: with a command or ``--help`` the command line, with none the terminal UI.

Textual is imported only when the UI opens.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from serving_ctl.errors import Exit, MissingExtra

if TYPE_CHECKING:
    from serving_ctl.cli.face import TuiOptions
    from tui.replay import Replay

NO_TERMINAL = (
    "The terminal UI needs a terminal that can move the cursor (this is {}); "
    "`tfserve-tui run PRESET` works without one."
)
BROWSER_DRIVERS = "tui.web."
"""``TEXTUAL_DRIVER`` begins so when a browser is the terminal."""


def main() -> None:
    """Run ``tfserve-tui``. Without any argument the command line need not be loaded before the first paint."""
    if len(sys.argv) > 1:
        _leave_to_command_line(open_tui)
    try:
        code = show()
    except Exception as error:
        _leave_to_command_line(partial(_fail, error))
    sys.exit(code)


def open_tui(options: TuiOptions) -> int:
    """Open the terminal UI as the command line asks; returns the exit code. Raises ConfigError."""
    return show(options.config, options.theme, options.replay, options.speed)


def show(config: Path | None = None, theme: str | None = None, replay: Path | None = None, speed: float = 1.0) -> int:
    """Show the terminal UI until it is left; returns the exit code. Raises ConfigError."""
    if lacking := _lacking():
        sys.stderr.write(NO_TERMINAL.format(lacking) + "\n")
        return Exit.USAGE
    from serving_ctl.config import load_settings
    from tui.app import TfServeApp
    from tui.conductor import open_engine

    app = TfServeApp(
        load_settings(config),
        theme=theme,
        replay=_recording(replay, speed) if replay else None,
        make_engine=partial(open_engine, source=config),
    )
    app.run()
    _flush_what_can_be()
    return app.return_code or Exit.DONE


def _flush_what_can_be() -> None:
    """With the terminal gone nothing can be written; Python would try at its end, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_theme(name: str) -> None:
    """Raise ConfigError unless ``name`` is a theme of ours or of Textual."""
    from textual.theme import BUILTIN_THEMES

    from tui import theme

    theme.check_theme(name, [*BUILTIN_THEMES, *(own.name for own in theme.THEMES)])


async def serve_web(options: TuiOptions, host: str, port: int, opened: Callable[[str], None]) -> None:
    """Serve the UI to browsers until cancelled. Raises ConfigError, MissingExtra or ServerStartError."""
    if importlib.util.find_spec("textual_serve") is None:
        raise MissingExtra("The terminal UI in a browser", "web")
    from serving_ctl.config import load_settings
    from tui.web.server import serve

    check_theme(options.theme or load_settings(options.config).ui.theme)
    await serve(_app_command(options), host, port, opened)


def _app_command(options: TuiOptions) -> list[str]:
    """The UI with these options as a process; a folder called ``tui`` where it is started is not taken for ours."""
    given = {"--config": options.config, "--theme": options.theme, "--replay": options.replay}
    words = [str(word) for pair in given.items() if pair[1] is not None for word in pair]
    return [sys.executable, "-P", "-m", "tui", *words, "--speed", str(options.speed)]


def _recording(path: Path, speed: float) -> Replay:
    from serving_ctl.events import read_recording
    from tui.replay import Replay

    return Replay(path=path, events=tuple(read_recording(path)), speed=speed)


def _leave_to_command_line(opener: Callable[[TuiOptions], int]) -> NoReturn:
    """The command line knows the commands, and how every error is told."""
    from serving_ctl import cli
    from serving_ctl.cli.face import Face

    sys.exit(cli.main(face=Face(open_tui=opener, check_theme=check_theme, serve_web=serve_web)))


def _fail(error: Exception, _: TuiOptions) -> NoReturn:
    raise error


def _lacking() -> str:
    """What keeps the UI from being drawn; empty when nothing does."""
    if os.environ.get("TEXTUAL_DRIVER", "").startswith(BROWSER_DRIVERS):
        return ""
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return "no terminal"
    term = os.environ.get("TERM", "")
    return f"TERM={term or 'unset'}" if term in {"", "dumb", "unknown"} else ""


if __name__ == "__main__":
    main()
