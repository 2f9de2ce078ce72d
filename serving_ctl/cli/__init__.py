"""The command line: ``main`` runs one command. Commands import what is heavy only when they run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from serving_ctl.cli import history, load, parts, plan, run, servers
from serving_ctl.cli.session import Interrupted, say
from serving_ctl.config import state_dir
from serving_ctl.errors import Exit, TfServeError


class TuiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal UI is opened with."""

    config: Path | None = None
    theme: str | None = None
    replay: Path | None = None
    speed: float = 1.0
    """Replay speed; 0 plays all at once."""


def main(argv: list[str] | None = None, *, open_tui: Callable[[TuiOptions], int] | None = None) -> int:
    """Run one command, or ``open_tui`` when there is none; returns the exit code."""
    try:
        with cli.make_context("tfserve-tui", sys.argv[1:] if argv is None else argv, obj=open_tui) as context:
            return int(cli.invoke(context) or Exit.DONE)
    except click.exceptions.Exit as end:
        return end.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return _failure(error)


def _failure(error: BaseException) -> int:
    """Say what ended a command and give its exit code."""
    match error:
        case KeyboardInterrupt() | click.exceptions.Abort():
            return Exit.INTERRUPTED
        case click.ClickException():
            error.show(file=sys.stderr)
            return Exit.USAGE
        case Interrupted():
            return error.exit_code
        case TfServeError():
            say(str(error))
            return error.exit_code
        case BrokenPipeError():
            # The reader of our output is gone; Python would complain once more when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.DONE
    return _fault(error)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="Settings file [default: configs/tfserve.toml].")
@click.option("--theme", help="Theme of the terminal UI.")
@click.option("--replay", type=click.Path(path_type=Path), help="Play a recording in the terminal UI.")
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Replay speed; 0 = at once."
)
@click.version_option(package_name="tfserve-tui")
@click.pass_context
def cli(
    context: click.Context, config: Path | None, theme: str | None, replay: Path | None, speed: float
) -> int | None:
    """Measure what TensorFlow Serving gives you over gunicorn + Flask. Without a command: the terminal UI."""
    open_tui: Callable[[TuiOptions], int] | None = context.obj
    context.obj = config
    if context.invoked_subcommand is not None:
        return None
    if open_tui is None:
        raise click.UsageError("a command is needed here; the terminal UI opens with `tfserve-tui`.")
    return open_tui(TuiOptions(config=config, theme=theme, replay=replay, speed=speed))


for _command in (
    servers.up,
    servers.down,
    servers.status,
    servers.metadata,
    servers.logs,
    servers.doctor,
    parts.workers,
    parts.containers,
    run.presets,
    run.run,
    load.load,
    plan.plan,
    history.history,
    history.show,
    history.export,
    history.compare,
    history.baseline,
    history.forget,
):
    cli.add_command(_command)


def _fault(error: BaseException) -> int:
    """A fault of ours: one line for the user, the trace in the log file."""
    path = state_dir() / "tfserve-tui.log"
    logging.basicConfig(filename=path, format="%(asctime)s %(message)s")
    logging.getLogger(__name__).error("fault", exc_info=error)
    say(f"tfserve-tui: internal fault ({type(error).__name__}: {error}); the trace is in {path}.")
    return Exit.FAULT
