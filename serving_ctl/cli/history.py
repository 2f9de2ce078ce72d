"""Commands about kept runs: history, show, export, compare, baseline, forget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.session import print_data, say
from serving_ctl.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving_ctl.results.history import History
    from serving_ctl.results.record import RunRecord
    from serving_ctl.results.tables import Table

EXPORT_HELP = "Write FILE.md, .csv, .json, .html, .svg or .png; `-` prints Markdown, `-.csv` CSV and so on."
RUN_HELP = "RUN is an id, its beginning, `last`, `last~1`, a baseline, or FILE.jsonl."


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def history(config: Path | None, as_json: bool) -> int:
    """List the kept runs, newest first."""
    from serving_ctl.results.overview import history_table
    from serving_ctl.results.text import table_text

    runs = _history().runs()
    if as_json:
        print_data(runs)
    elif runs:
        print_data(table_text(history_table(runs)))
    else:
        say("no run is kept yet; `tfserve-tui run batch-small` measures one.")
    return Exit.DONE


@click.command(help=f"Print all tables of a kept run. {RUN_HELP}", short_help="Print all tables of a kept run.")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def show(config: Path | None, run: str, as_json: bool) -> int:
    """Print all tables of a kept run."""
    from serving_ctl.results.document import all_tables, json_document, sentences

    record = _history().run(run)
    if as_json:
        print_data(json_document(record))
    else:
        print_data("\n".join([*sentences(record), "", table_texts(all_tables(record))]))
    return Exit.DONE


@click.command(help=f"Write a kept run to files. {RUN_HELP}", short_help="Write a kept run to files.")
@click.argument("run")
@click.option(
    "--export", "exports", multiple=True, required=True, type=click.Path(path_type=Path),
    help=EXPORT_HELP,
)  # fmt: skip
@click.pass_obj
def export(config: Path | None, run: str, exports: tuple[Path, ...]) -> int:
    """Write a kept run to files."""
    check_exports(exports)
    write_exports(_history().run(run), exports)
    return Exit.DONE


@click.command(
    help=f"What differs between two runs, then how each cell changed from A to B. {RUN_HELP}",
    short_help="What differs between two runs, and how each cell changed.",
)
@click.argument("a")
@click.argument("b")
@click.option(
    "--fail-above", type=click.FloatRange(min=0, min_open=True), metavar="RATIO",
    help="Exit 5 when a cell is surely this many times worse: its interval's lower bound is above RATIO.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def compare(config: Path | None, a: str, b: str, fail_above: float | None, as_json: bool) -> int:
    """What differs between two runs, then how each cell changed from A to B."""
    from serving_ctl.results.compare import comparison_tables

    comparison = _history().compare(a, b)
    print_data(comparison if as_json else table_texts(comparison_tables(comparison)))
    if fail_above is None:
        return Exit.DONE
    if comparison.unjudged:
        cells = formatting.plural(comparison.unjudged, "cell")
        say(f"{cells} without an interval: not judged (each run needs two rounds that were measured).")
    worse = comparison.regressions(fail_above)
    for cell in worse:
        assert cell.change is not None
        interval = formatting.interval(cell.change.low, cell.change.high)
        size = formatting.count(cell.size)
        say(f"regression: {cell.ladder} {size}, {cell.server}: {cell.metric} {interval} times worse")
    return Exit.REGRESSION if worse else Exit.DONE


@click.command(help=f"Call a kept run NAME, or list the names. {RUN_HELP}", short_help="Name a kept run, list names.")
@click.argument("name", required=False)
@click.argument("run", default="last")
@click.pass_obj
def baseline(config: Path | None, name: str | None, run: str) -> int:
    """Name a kept run, list names."""
    if name is None:
        names = _history().baselines()
        if names:
            print_data("\n".join(f"{known}  {run_id}" for known, run_id in names.items()))
        else:
            say("no run has a name yet; `tfserve-tui baseline NAME` names the newest.")
        return Exit.DONE
    say(f"{name} is now {_history().name_baseline(name, run)}")
    return Exit.DONE


@click.command(help=f"Delete a kept run for good. {RUN_HELP}", short_help="Delete a kept run for good.")
@click.argument("run")
@click.pass_obj
def forget(config: Path | None, run: str) -> int:
    """Delete a kept run for good."""
    say(f"forgot {_history().delete(run)}")
    return Exit.DONE


def check_exports(exports: Iterable[Path]) -> None:
    """Raise ConfigError now for a file that could not be written later."""
    from serving_ctl.results.export import check_export

    for path in exports:
        check_export(path)


def write_exports(record: RunRecord, exports: Iterable[Path]) -> None:
    """Write ``record`` to every file; what is called ``-`` goes to stdout. Raises ConfigError."""
    from serving_ctl.results.export import is_stdout, render, write_export

    for path in exports:
        if is_stdout(path):
            click.echo(render(record, path), nl=False)
        else:
            write_export(record, path)
            say(f"wrote {path}")


def table_texts(tables: Iterable[Table]) -> str:
    """Tables as plain text, an empty line between them."""
    from serving_ctl.results.text import table_text

    return "\n\n".join(map(table_text, tables))


def _history() -> History:
    from serving_ctl.results.history import History

    return History(say)
