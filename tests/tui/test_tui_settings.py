"""The flags form and the editor of config files, over the scripted engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pilots import WIDE, Live, drive, main_of, shown, until
from textual.pilot import Pilot
from textual.widgets import DataTable, TextArea

from tui.screens.config_editor import ConfigEditor
from tui.screens.flags_form import FlagsForm


async def opened(pilot: Pilot[Any], live: Live, key: str, sign: str) -> None:
    await until(pilot, lambda: main_of(live.app).situation.is_open and "batch-small" in shown(live.app))
    await pilot.press(key)
    await until(pilot, lambda: sign in shown(live.app))


async def give(pilot: Pilot[Any], live: Live, flag: str, value: str) -> None:
    """Find a flag and type a value."""
    await pilot.press("slash", *flag, "enter")
    await until(pilot, lambda: isinstance(live.app.focused, DataTable))
    await pilot.press("enter", *value, "enter")
    await pilot.pause()


def test_flags_are_found_checked_and_used() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live, "f", "0 flags set")
        await give(pilot, live, "num_load_ret", "many")
        await until(pilot, lambda: "is no int32 value; give a whole number" in shown(live.app))
        await pilot.press(*["backspace"] * 4, "0", "enter")
        await until(pilot, lambda: "1 flag set" in shown(live.app))
        await pilot.press("slash", "ctrl+u", *"per_model_batching", "enter", "enter", *"true", "enter")
        await until(pilot, lambda: "needs enable_batching = true" in shown(live.app))
        await pilot.press("a")
        await pilot.pause()
        assert isinstance(live.app.screen, FlagsForm)
        assert not [call for call in live.engine.calls if call.startswith("flags")]
        await pilot.press("d")
        await until(pilot, lambda: "1 flag set" in shown(live.app))
        await pilot.press("a")
        await until(pilot, lambda: "flags {'max_num_load_retries': 0} used" in live.engine.calls)
        await until(pilot, lambda: len(live.app.screen_stack) == 1 and live.app._notifications)

    drive(live.app, WIDE, story)


def test_saved_flags_are_told_with_their_path_and_the_restart() -> None:
    live = Live()

    async def story(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: main_of(live.app).situation.is_open)
        live.engine.may_start.set()
        await pilot.press("s")
        await until(pilot, lambda: shown(live.app).count("READY") == 2)
        await opened(pilot, live, "f", "0 flags set")
        await give(pilot, live, "enable_cors", "true")
        await until(pilot, lambda: "1 flag set" in shown(live.app))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "Escape again gives them up" in shown(live.app))
        await pilot.press("s")
        await until(pilot, lambda: "flags {'rest_api_enable_cors_support': True} saved" in live.engine.calls)
        await until(pilot, lambda: len(live.app.screen_stack) == 1 and live.app._notifications)
        (told,) = [one.message for one in live.app._notifications]
        assert told.startswith("Saved in tfserve.toml.")
        assert "r restarts it" in told

    drive(live.app, WIDE, story)


def test_a_refused_config_stays_in_the_editor_and_a_good_one_is_written(tmp_path: Path) -> None:
    live = Live()
    good = "prometheus_config { enable: false }\n"

    async def story(pilot: Pilot[Any]) -> None:
        await opened(pilot, live, "g", "model_config_list")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "prometheus_config" in shown(live.app))
        editor = live.app.screen.query_one(TextArea)
        editor.text = "\nprometheus { }"
        await until(pilot, lambda: "[monitoring.config*]" in shown(live.app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "monitoring.config:2: not a MonitoringConfig" in shown(live.app))
        await pilot.press("ctrl+n", "ctrl+n", "ctrl+o")
        await until(pilot, lambda: "# effective" in shown(live.app))
        await pilot.press("ctrl+o", "ctrl+n")
        assert editor.text == "\nprometheus { }"
        await pilot.press("escape")
        await until(pilot, lambda: "Not saved: monitoring.config." in shown(live.app))
        editor.text = good
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Saved in" in shown(live.app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(live.app.screen, ConfigEditor))

    drive(live.app, WIDE, story)
    assert (tmp_path / "config" / "monitoring.config").read_text(encoding="utf-8") == good
