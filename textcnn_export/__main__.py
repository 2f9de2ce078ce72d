"""The command `textcnn-export`: its arguments, its exit codes and what it says.

stdout is data (the path of the new version), stderr is talk. Exit codes: 0 done · 2 cannot be done as asked ·
130 interrupted, 143 terminated (nothing is left behind).
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from textcnn_export.errors import ExportError
from textcnn_export.release import LAST_VERSION

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _model_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """A name that is one folder and one part of a URL. Raises click.BadParameter."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", value):
        raise click.BadParameter(f"{value!r} is not a model name: use letters, digits, '_', '-' and '.', at most 128")
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("release"), show_default=True, help="Folder of all models."
)
@click.option("--model-name", callback=_model_name, default="text_cnn", show_default=True, help="Name to serve it by.")
@click.option("--version", type=click.IntRange(1, LAST_VERSION), help="Version number.  [default: the next free one]")
@click.option("--no-train", is_flag=True, help="Export seeded random weights: seconds instead of half a minute.")
def command(out: Path, model_name: str, version: int | None, no_train: bool) -> None:
    """Train a text CNN on movie-review sentences and export it as a SavedModel: OUT/MODEL_NAME/VERSION.

    The model answers token ids (serving_default) and raw sentences (text). An existing version is never touched.
    """
    from textcnn_export.export import export_text_cnn

    click.echo(export_text_cnn(out, model_name, version, trained=not no_train))


def main(argv: list[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's arguments) and return its exit code."""
    try:
        with _stoppable():
            command.main(args=argv, prog_name="textcnn-export", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ExportError as error:
        click.echo(error, err=True)
        return 2
    except _Stopped as stop:
        click.echo("stopped, nothing was left behind", err=True)
        return 128 + stop.signal_number
    return 0


class _Stopped(BaseException):
    """A signal asked us to stop."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first stop signal into `_Stopped`; later ones are ignored, so that cleaning up is not cut short."""

    def stop(signal_number: int, _frame: FrameType | None) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped(signal_number)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
