"""A preset that wants other settings: what it changes runs with them for the run, and with ours again after it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from serving_ctl.config import FlaskSettings, Settings
from serving_ctl.engine import Engine
from serving_ctl.errors import ConfigError
from serving_ctl.events import ServerChanged, ServerState


class TwoServers:
    """A fleet that starts nothing: which server is up with which settings, and in which order that came about."""

    up: dict[str, str] = {}  # noqa: RUF012 - shared by all fleets, as real processes are
    said: list[str] = []  # noqa: RUF012

    def __init__(self, settings, emit) -> None:
        self._worker_class = settings.flask.worker_class

    def current(self, server: str) -> ServerChanged:
        state = ServerState.READY if server in self.up else ServerState.STOPPED
        return ServerChanged(server=server, state=state)

    async def start(self, server: str, **options) -> ServerChanged:
        self.up[server] = self._worker_class if server == "flask" else ""
        self.said.append(f"start {server} {self.up[server]}".strip())
        return self.current(server)

    async def stop(self, server: str, **options) -> None:
        if self.up.pop(server, None) is not None:
            self.said.append(f"stop {server}")

    async def adopt(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def engine(monkeypatch) -> Engine:
    monkeypatch.setattr("serving_ctl.servers.fleet.Fleet", TwoServers)
    monkeypatch.setattr(TwoServers, "up", {})
    monkeypatch.setattr(TwoServers, "said", [])
    return Engine(Settings(), lambda event: None)


GTHREAD = msgspec.structs.replace(Settings(), flask=FlaskSettings(worker_class="gthread", threads=4))


async def under(engine: Engine, settings: Settings) -> None:
    async with engine._under(settings, engine.targets):
        for server in engine.servers:
            if engine.current(server).state is ServerState.STOPPED:
                await engine.start(server)
        TwoServers.said.append("run")


def test_both_were_down(engine):
    asyncio.run(under(engine, GTHREAD))
    assert TwoServers.said == ["start tf-serving", "start flask gthread", "run", "stop flask"]
    assert engine.settings == Settings()
    assert engine.started_here() == ("tf-serving",)


def test_both_were_up_and_are_again(engine):
    async def session() -> None:
        await engine.start("tf-serving")
        await engine.start("flask")
        TwoServers.said.clear()
        await under(engine, GTHREAD)

    asyncio.run(session())
    assert TwoServers.said == ["stop flask", "start flask gthread", "run", "stop flask", "start flask sync"]
    assert engine.started_here() == ("tf-serving", "flask")


def test_a_server_of_an_earlier_session_is_not_called_ours(engine):
    TwoServers.up["flask"] = "sync"
    asyncio.run(under(engine, GTHREAD))
    assert TwoServers.up["flask"] == "sync"
    assert engine.started_here() == ("tf-serving",)


def test_cancelled_in_the_middle(engine):
    TwoServers.up["flask"] = "sync"

    async def session() -> None:
        async with engine._under(GTHREAD, engine.targets):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(session())
    assert TwoServers.up == {"flask": "sync"}
    assert engine.settings == Settings()


def test_the_same_settings_touch_nothing(engine):
    TwoServers.up["flask"] = "sync"
    asyncio.run(under(engine, Settings()))
    assert TwoServers.said == ["start tf-serving", "run"]


def test_somebody_else_s_server_cannot_be_changed(engine):
    engine.settings = msgspec.structs.replace(Settings(), flask=FlaskSettings(runtime="external", url="http://h:1"))
    wanted = msgspec.structs.replace(
        engine.settings, flask=msgspec.structs.replace(engine.settings.flask, worker_class="gthread")
    )
    with pytest.raises(ConfigError, match="somebody else runs"):
        asyncio.run(under(engine, wanted))
    assert TwoServers.said == []
