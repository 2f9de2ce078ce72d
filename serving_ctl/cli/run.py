"""Commands about measuring a preset: run, presets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.session import RUNTIMES, StateTalk, print_data, require_model, say, with_engine
from serving_ctl.config import load_settings
from serving_ctl.errors import Exit
from serving_ctl.events import Event

if TYPE_CHECKING:
    from serving_ctl.engine import Engine, PresetSummary, RunOptions
    from serving_ctl.results.record import RunRecord


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def presets(config: Path | None, as_json: bool) -> int:
    """List the presets with their number keys and expected times."""
    from serving_ctl.engine import Engine

    found = Engine(load_settings(config), lambda event: None).presets
    print_data(found if as_json else "\n".join(_preset_line(preset) for preset in found))
    return Exit.DONE


@click.command()
@click.argument("preset")
@click.option(
    "--profile", type=click.Choice(["quick", "standard", "publish"]), help="How thorough [default: preset's]."
)
@click.option("--rounds", type=click.IntRange(min=2), help="Rounds, an even number.")
@click.option("--export", "exports", multiple=True, type=click.Path(path_type=Path), help="Write tables to FILE.md.")
@click.option("--events", type=click.Path(path_type=Path), help="Record the run to FILE.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON only.")
@click.option("--keep", is_flag=True, help="Leave servers running that this command started.")
@click.option("--dry-run", is_flag=True, help="Say what would be measured, measure nothing.")
@click.option("--despite-parity", is_flag=True, help="Measure although the predictions differ.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="How tf-serving is run [default: settings].")
@click.option("--pull", is_flag=True, help="Let docker pull the image when it is absent.")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds until each server must be ready.")
@click.pass_obj
def run(
    config: Path | None,
    preset: str,
    profile: str | None,
    rounds: int | None,
    exports: tuple[Path, ...],
    events: Path | None,
    as_json: bool,
    keep: bool,
    dry_run: bool,
    despite_parity: bool,
    runtime: str | None,
    pull: bool,
    timeout: float | None,
) -> int:
    """Measure a preset on both servers; starts what is not running and stops what it started."""
    from serving_ctl.engine import RunOptions

    options = RunOptions(
        profile=profile,
        rounds=rounds,
        despite_parity=despite_parity,
        recording=events,
        pull=pull,
        runtime=runtime,
        timeout_s=timeout,
    )
    if dry_run:
        return _dry_run(config, preset, options, as_json)
    _check_exports(exports)
    talk = _RunTalk()

    async def work(engine: Engine) -> int:
        engine.plan(preset, options)  # a wrong name or number is said before anything starts
        await engine.open()
        require_model(engine)
        try:
            await engine.run(preset, options)
        finally:
            if not keep:
                say("stopping what was started here …") if engine.started_here() else None
                await engine.close(stop_servers=True)
        return Exit.DONE

    try:
        return with_engine(config, work, talk)
    finally:
        talk.close()
        _publish(talk.record, exports, as_json)


class _RunTalk(StateTalk):
    """Folds a run's events; a progress bar on a terminal, one line a cell elsewhere."""

    def __init__(self) -> None:
        from serving_ctl.bench.progress import Progress
        from serving_ctl.cli.progress_line import ProgressLine

        super().__init__()
        self._progress = Progress()
        self._line = ProgressLine(sys.stderr)

    @property
    def record(self) -> RunRecord | None:
        """The run so far; None before it began."""
        return self._progress.run

    def __call__(self, event: Event) -> None:
        from serving_ctl.bench.progress import advance

        if self._progress.run is None:
            super().__call__(event)
        self._progress = advance(self._progress, event)
        self._line.show(self._progress, event)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._line.close()


def _check_exports(exports: tuple[Path, ...]) -> None:
    from serving_ctl.results.export import check_export

    for path in exports:
        check_export(path)


def _publish(record: RunRecord | None, exports: tuple[Path, ...], as_json: bool) -> None:
    """Write and print what was measured, a run that was cut short as well."""
    if record is None:
        return
    from serving_ctl.engine import export_record
    from serving_ctl.results.tables import ladder_tables
    from serving_ctl.results.text import table_text

    for path in exports:
        export_record(record, path)
        say(f"wrote {path}")
    tables = ladder_tables(record)
    print_data({"schema": 1, "run": record, "tables": tables} if as_json else "\n\n".join(map(table_text, tables)))


def _dry_run(config: Path | None, preset: str, options: RunOptions, as_json: bool) -> int:
    from serving_ctl.engine import Engine

    plan = Engine(load_settings(config), lambda event: None).plan(preset, options)
    if as_json:
        print_data(plan)
        return Exit.DONE
    for ladder in plan.ladders:
        sizes = ", ".join(formatting.count(size) for size in ladder.sizes)
        click.echo(f"{ladder.name}: {ladder.kind} {sizes}; {formatting.plural(plan.rounds, 'round')}")
    minima = f"{formatting.duration(plan.min_seconds)} and {formatting.plural(plan.min_requests, 'request')}"
    click.echo(
        f"{formatting.count(plan.cells)} cells of at least {minima}, about {formatting.duration(plan.expected_s)}."
    )
    return Exit.DONE


def _preset_line(preset: PresetSummary) -> str:
    rounds = formatting.plural(preset.rounds, "round")
    return (
        f"{preset.key or ' '}  {preset.name:<14} {preset.title:<42} {formatting.count(preset.cells):>4} cells, "
        f"{rounds}, about {formatting.duration(preset.expected_s)}"
    )
