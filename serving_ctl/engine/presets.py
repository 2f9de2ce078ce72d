"""The presets as menus, forms and ``run`` see them: those of the files, and over them this session's changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from serving_ctl.bench.plan import Plan, make_plan
from serving_ctl.bench.presets import (
    Preset,
    choose_preset,
    load_presets,
    own_keys,
    parse_preset,
    save_preset,
    settings_for,
)
from serving_ctl.config import FLASK, TF_SERVING, Settings
from serving_ctl.engine.options import RunOptions


class PresetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as a menu shows it; times are rough guesses for a text CNN on two cores."""

    name: str
    key: str
    title: str
    expected_s: float
    cells: int
    rounds: int
    expected_requests: int = 0
    expected_memory_mb: float = 0.0
    """Of the servers here together; none of them is here when somebody else runs all of them."""


class Presets:
    """All presets, read anew at each call; ``settings`` says those of now. Every method raises ConfigError."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._drafts: dict[str, Preset] = {}

    def summaries(self) -> tuple[PresetSummary, ...]:
        """All presets in file order."""
        settings = self._settings()
        plans = [
            (preset.key, make_plan(name, preset, settings.bench, targets=settings.targets))
            for name, preset in self._known().items()
        ]
        return tuple(
            PresetSummary(
                name=plan.preset,
                key=key,
                title=plan.title,
                expected_s=plan.expected_s,
                cells=plan.cells,
                rounds=plan.rounds,
                expected_requests=plan.expected_requests,
                expected_memory_mb=plan.expected_memory_mb(_processes(settings)),
            )
            for key, plan in plans
        )

    def plan(self, name: str, options: RunOptions) -> Plan:
        """The plan that a run of ``name`` would measure."""
        settings = self._settings()
        return make_plan(
            name,
            self._preset(name),
            settings.bench,
            profile=options.profile,
            rounds=options.rounds,
            targets=options.measured(settings),
        )

    def settings_for(self, name: str) -> Settings:
        """The settings of now with those that preset ``name`` brings."""
        return settings_for(self._preset(name), self._settings())

    def table(self, name: str) -> dict[str, Any]:
        """The preset as its table in presets.toml would be: kebab-case keys."""
        table: dict[str, Any] = msgspec.to_builtins(self._preset(name))
        return table

    def change(self, name: str, table: dict[str, Any], *, save: bool) -> Path | None:
        """Take ``table`` as preset ``name`` for this session; ``save`` writes the user's presets.toml, whose path it
        returns. The error names what is wrong.
        """
        preset = parse_preset(name, table)
        path = save_preset(name, preset) if save else None
        self._drafts[name] = preset
        return path

    def largest(self) -> tuple[int, int]:
        """The most connections and the largest batch that any preset asks for."""
        ladders = [ladder for preset in self._known().values() for ladder in preset.ladders]
        clients = max(max(one.sizes) if one.kind == "concurrency" else one.clients for one in ladders)
        batch = max(max(one.sizes) if one.kind == "batch" else one.batch for one in ladders)
        return clients, batch

    def _preset(self, name: str) -> Preset:
        return choose_preset(self._known(), name)

    def _known(self) -> dict[str, Preset]:
        return own_keys({**load_presets(), **self._drafts})


def _processes(settings: Settings) -> int:
    """How many processes here hold the model while the settings' targets are measured."""
    held = {TF_SERVING: 1, FLASK: settings.flask.workers}
    return sum(held.get(name, 0) for name in settings.targets if settings.server(name).runtime != "external")
