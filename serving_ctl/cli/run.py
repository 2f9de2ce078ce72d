"""Commands about measuring a preset: run, presets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving_ctl import formatting
from serving_ctl.cli.history import EXPORT_HELP, check_exports, table_texts, write_exports
from serving_ctl.cli.session import CLUSTER_HELP, RUNTIMES, StateTalk, print_data, require_model, say, with_engine
from serving_ctl.config import load_settings
from serving_ctl.errors import ConfigError, Exit, TfServeError
from serving_ctl.events import Event, LogLine

if TYPE_CHECKING:
    from serving_ctl.engine import Engine, PresetSummary, RunOptions
    from serving_ctl.results.compare import RunComparison
    from serving_ctl.results.record import RunRecord


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def presets(config: Path | None, as_json: bool) -> int:
    """List the presets with their number keys and expected times."""
    from serving_ctl.engine import Engine

    found = Engine(load_settings(config), lambda event: None).presets.summaries()
    print_data(found if as_json else "\n".join(_preset_line(preset) for preset in found))
    return Exit.DONE


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The names between the commas of ``value``; which of them there are is the settings' to say."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and not names:
        raise click.BadParameter("name two servers or more, with commas between them.", context, option)
    return names


@click.command()
@click.argument("preset")
@click.option(
    "--profile", type=click.Choice(["quick", "standard", "publish"]), help="How thorough [default: preset's]."
)
@click.option("--rounds", type=click.IntRange(min=2), help="Rounds, an even number.")
@click.option("--export", "exports", multiple=True, type=click.Path(path_type=Path), help=EXPORT_HELP)
@click.option("--events", type=click.Path(path_type=Path), help="Record the run to FILE.jsonl.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON only.")
@click.option(
    "--baseline", metavar="NAME", help="Compare with the run called NAME; without one, this is it from now on."
)
@click.option("--keep", is_flag=True, help="Leave servers running that this command started.")
@click.option("--dry-run", is_flag=True, help="Say what would be measured, measure nothing.")
@click.option("--despite-parity", is_flag=True, help="Measure although the predictions differ.")
@click.option("--runtime", type=click.Choice(RUNTIMES), help="How tf-serving is run [default: settings].")
@click.option(
    "--targets",
    metavar="A,B,…",
    callback=_names,
    help="Servers to measure, ratios against the first [default: settings].",
)
@click.option("--cluster", metavar="ADDRESS", help=CLUSTER_HELP)
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
    baseline: str | None,
    keep: bool,
    dry_run: bool,
    despite_parity: bool,
    runtime: str | None,
    targets: tuple[str, ...],
    cluster: str | None,
    pull: bool,
    timeout: float | None,
) -> int:
    """Measure a preset on all targets; starts what is not running and stops what it started."""
    from serving_ctl.engine import RunOptions

    options = RunOptions(
        profile=profile,
        rounds=rounds,
        despite_parity=despite_parity,
        recording=events,
        pull=pull,
        runtime=runtime,
        targets=targets,
        cluster=cluster,
        timeout_s=timeout,
    )
    if dry_run:
        return _dry_run(config, preset, options, as_json)
    check_exports(exports)
    _check_recording(events)
    talk = _RunTalk()

    async def work(engine: Engine) -> int:
        plan = engine.presets.plan(preset, options)  # a wrong name or number is said before anything starts
        await engine.open()
        require_model(engine, plan.targets)
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
        _publish(talk.record, exports, baseline, as_json)


def _check_recording(path: Path | None) -> None:
    """Raise ConfigError now for a recording that could not be written later."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist.")


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

        if isinstance(event, LogLine):
            self._say_history(event)
        elif self._progress.run is None:
            super().__call__(event)
        self._progress = advance(self._progress, event)
        self._line.show(self._progress, event)

    def _say_history(self, line: LogLine) -> None:
        from serving_ctl.engine import HISTORY

        if line.server == HISTORY:
            say(line.text)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._line.close()


def _publish(record: RunRecord | None, exports: tuple[Path, ...], baseline: str | None, as_json: bool) -> None:
    """Write and print what was measured, a run that was cut short as well."""
    if record is None:
        return
    from serving_ctl.results.compare import comparison_tables
    from serving_ctl.results.document import json_document
    from serving_ctl.results.export import is_stdout
    from serving_ctl.results.tables import ladder_tables

    write_exports(record, exports)
    comparison = _against_baseline(record, baseline) if baseline and record.cells else None
    if as_json:
        print_data(json_document(record) | ({"comparison": comparison} if comparison else {}))
    elif not any(map(is_stdout, exports)):
        print_data(table_texts((*ladder_tables(record), *(comparison_tables(comparison) if comparison else ()))))


def _against_baseline(record: RunRecord, name: str) -> RunComparison | None:
    """``record`` against the baseline ``name``; when there is none yet, it becomes that baseline.

    What stands in the way is said and costs no more than the comparison: the run itself is still printed.
    """
    from serving_ctl.results.compare import compare_records
    from serving_ctl.results.history import History

    kept = History(say)
    try:
        known = kept.baselines().get(name)
        if known is not None:
            return compare_records(kept.run(known), record)
        kept.name_baseline(name, record.started.run_id)
        say(f"there was no baseline {name!r}: this run is it from now on")
    except TfServeError as error:
        say(f"not compared with baseline {name!r}: {error}")
    return None


def _dry_run(config: Path | None, preset: str, options: RunOptions, as_json: bool) -> int:
    from serving_ctl.engine import Engine

    plan = Engine(load_settings(config), lambda event: None).presets.plan(preset, options)
    if as_json:
        print_data(plan)
        return Exit.DONE
    for ladder in plan.ladders:
        sizes = ", ".join(formatting.count(size) for size in ladder.sizes)
        click.echo(f"{ladder.name}: {ladder.kind} {sizes}; {formatting.plural(plan.rounds, 'round')}")
    minima = f"{formatting.duration(plan.min_seconds)} and {formatting.plural(plan.min_requests, 'request')}"
    first, *others = plan.targets
    click.echo(f"{first} against {', '.join(others)}")
    click.echo(
        f"{formatting.count(plan.cells)} cells of at least {minima}, about {formatting.duration(plan.expected_s)} and "
        f"{formatting.rounded_count(plan.expected_requests)} requests."
    )
    return Exit.DONE


def _preset_line(preset: PresetSummary) -> str:
    rounds = formatting.plural(preset.rounds, "round")
    return (
        f"{preset.key or ' '}  {preset.name:<22} {preset.title:<46} {formatting.count(preset.cells):>4} cells, "
        f"{rounds:>9}, about {formatting.duration(preset.expected_s):>6}, "
        f"{formatting.rounded_count(preset.expected_requests):>9} requests, "
        f"{formatting.memory(preset.expected_memory_mb)}"
    )
