"""How the training shows its progress: a bar on a terminal, else plain lines such as `epoch 1/2 40 %`."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from textcnn_export.training import Progress


def show_training(training: Iterable[Progress]) -> None:
    """Run `training` to its end and show each step on stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        _show_bar(training, console)
    else:
        _show_lines(training)


def _show_bar(training: Iterable[Progress], console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("training")
        for step in training:
            bar.update(
                task,
                description=f"epoch {step.epoch}/{step.epochs}",
                completed=(step.epoch - 1) * step.steps + step.done,
                total=step.epochs * step.steps,
            )


def _show_lines(training: Iterable[Progress]) -> None:
    """A line for every tenth of an epoch."""
    for step in training:
        tenth = 10 * step.done // step.steps
        if tenth > 10 * (step.done - 1) // step.steps:
            click.echo(f"epoch {step.epoch}/{step.epochs} {10 * tenth} %", err=True)
