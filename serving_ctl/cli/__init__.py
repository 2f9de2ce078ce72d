"""The command line: ``main`` runs one command. Commands import what is heavy only when they run."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from serving_ctl.cli import history, load, parts, plan, run, servers, tasks, web
from serving_ctl.cli.face import Face, TuiOptions
from serving_ctl.cli.session import Interrupted, say
from serving_ctl.config import state_dir
from serving_ctl.errors import Exit, TfServeError


def main(argv: list[str] | None = None, *, face: Face | None = None) -> int:
    """Run one command, or open the ``face`` when there is none; returns the exit code."""
    try:
        with cli.make_context("tfserve-tui", sys.argv[1:] if argv is None else argv, obj=face) as context:
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
            say(_usage_words(error))
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


class _Commands(click.Group):
    """Commands in the order in which they are used, each with the whole of its sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their sentences, which click would cut at the screen's edge."""
        rows = [(name, self.commands[name].get_short_help_str(limit=200)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


EXIT_CODES = (
    "Exit codes: 0 done; 2 arguments or settings that cannot be used; 3 a server would not start; 4 a run that is "
    "incomplete, or predictions that differ; 5 a regression in `compare`; 130 and 143 interrupted; 1 a fault of ours."
)
CONFIG_PATH = click.Path(path_type=Path)


@click.group(
    cls=_Commands,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--config", type=CONFIG_PATH, help="Settings file [default: configs/tfserve.toml].")
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
    face: Face | None = context.obj
    context.obj, context.meta[Face.__name__] = config, face
    if theme is not None and face is not None:
        face.check_theme(theme)
    command = context.invoked_subcommand
    if command is not None:
        if replay is not None and command != web.web.name:
            raise click.UsageError(f"--replay plays in the terminal UI; it goes without `{command}`, or with `web`.")
        return None
    if face is None:
        raise click.UsageError("a command is needed here; the terminal UI opens with `tfserve-tui`.")
    return face.open_tui(TuiOptions(config=config, theme=theme, replay=replay, speed=speed))


def _take_config(context: click.Context, option: click.Parameter, value: Path | None) -> None:
    """``--config`` behind a command is the one before it."""
    del option
    if value is not None:
        context.obj = context.find_root().params["config"] = value


for _command in (
    servers.up,
    servers.down,
    servers.status,
    servers.metadata,
    servers.logs,
    servers.doctor,
    parts.workers,
    parts.containers,
    tasks.tasks,
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
    web.web,
):
    _command.params.append(
        click.Option(["--config"], type=CONFIG_PATH, expose_value=False, callback=_take_config, help="Settings file.")
    )
    cli.add_command(_command)


def _usage_words(error: click.ClickException) -> str:
    """What is wrong with the arguments, and where help is."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"\n`{context.command_path} --help` lists what it takes." if context else ""
    return " ".join(error.format_message().split()) + hint


def _fault(error: BaseException) -> int:
    """A fault of ours: one line for the user, the trace in the log file."""
    path = state_dir() / "tfserve-tui.log"
    logging.basicConfig(filename=path, format="%(asctime)s %(message)s")
    logging.getLogger(__name__).error("fault", exc_info=error)
    say(f"tfserve-tui: internal fault ({type(error).__name__}: {error}); the trace is in {path}.")
    return Exit.FAULT
