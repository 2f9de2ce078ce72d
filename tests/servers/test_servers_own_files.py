"""What the faces write into the user's files: flags with the rest kept, config files only when they are valid."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from places import Place, free_port

from serving_ctl.config import load_settings, own_file, templates_dir
from serving_ctl.engine import Engine
from serving_ctl.errors import ConfigError
from serving_ctl.servers.configs import MONITORING
from serving_ctl.servers.own_files import save_config, save_flags
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.spec import native_spec


def test_saved_flags_keep_comments_and_everything_else(tmp_path: Path) -> None:
    path, shipped = tmp_path / "own.toml", (templates_dir() / "tfserve.toml").read_text(encoding="utf-8")
    path.write_text(shipped, encoding="utf-8")
    flags: dict[str, bool | int | float | str] = {"enable_batching": True, "max_num_load_retries": 0}
    save_flags(path, flags)
    assert load_settings(path).tf_serving.flags == flags
    assert set(path.read_text(encoding="utf-8").splitlines()) > set(shipped.splitlines())
    save_flags(path, {})
    assert path.read_text(encoding="utf-8") == shipped
    path.write_text("[tf-serving]\nprt = 1 # mine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'prt'"):
        save_flags(path, flags)
    assert path.read_text(encoding="utf-8") == "[tf-serving]\nprt = 1 # mine\n"
    assert [one.name for one in tmp_path.iterdir()] == ["own.toml"]


def test_a_refused_config_leaves_the_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFSERVE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    good = "prometheus_config { enable: true }  # mine\n"
    path = save_config(MONITORING, good)
    assert path == own_file(MONITORING) == tmp_path / "config" / MONITORING
    with pytest.raises(ConfigError, match=r'^monitoring\.config:2: not a MonitoringConfig: .*"prometheus"'):
        save_config(MONITORING, "\nprometheus { }")
    assert path.read_text(encoding="utf-8") == good


def test_changed_flags_arrive_in_the_next_command_line(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "named.toml"
    source.write_text("# mine\n", encoding="utf-8")

    async def scenario() -> Engine:
        engine = Engine(place.settings(port=free_port()), place.events.append, source=source)
        with pytest.raises(ConfigError, match="the server has no flag 'zzz'"):
            await engine.tuning.change_flags({"zzz": 1}, save=True)
        assert engine.settings.tf_serving.flags == {}
        assert source.read_text(encoding="utf-8") == "# mine\n"
        assert await engine.tuning.change_flags({"max_num_load_retries": 0}) is None
        assert await engine.tuning.change_flags({"max_num_load_retries": 7}, save=True) == source
        await engine.close(stop_servers=False)
        return engine

    engine = asyncio.run(scenario())
    argv = native_spec(engine.settings, StateFiles(place.state, "tf-serving"), place.model, "server", "?").argv
    assert "--max_num_load_retries=7" in argv
    assert load_settings(source).tf_serving.flags == {"max_num_load_retries": 7}
