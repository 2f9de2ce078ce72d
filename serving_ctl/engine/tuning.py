"""What tf-serving is told beyond the settings' own keys: its flags, and the config files that it reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serving_ctl.config import TF_SERVING, Settings, config_file, own_file, state_dir

if TYPE_CHECKING:
    from serving_ctl.servers.flags import Flag, FlagValue
    from serving_ctl.servers.fleet import Fleet


class Tuning:
    """Flags and config files of tf-serving.

    ``settings`` and ``fleet`` give those of now, ``take`` makes new settings those of now; ``source`` is the file that
    the settings were read from, when the user named one.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        fleet: Callable[[], Fleet],
        take: Callable[[Settings], Awaitable[None]],
        source: Path | None,
    ) -> None:
        self._settings, self._fleet, self._take, self._source = settings, fleet, take, source

    async def known_flags(self) -> dict[str, Flag]:
        """The flags that ``[tf-serving.flags]`` may set, by name. Raises ServerStartError."""
        return await self._fleet().flags()

    def flag_value(self, flag: Flag, text: str) -> FlagValue:
        """``text`` as a value of ``flag``. Raises ConfigError."""
        from serving_ctl.servers.flags import read_value

        return read_value(flag.name, flag.type, text)

    def check_flags(self, flags: dict[str, FlagValue], known: dict[str, Flag]) -> None:
        """Raise ConfigError for a flag that is unknown, of the wrong type, or contradicts another."""
        from serving_ctl.servers.chosen_flags import check_flags

        check_flags(msgspec.structs.replace(self._settings().tf_serving, flags=flags), known)

    async def change_flags(self, flags: dict[str, FlagValue], *, save: bool = False) -> Path | None:
        """From the next start on these are all of [tf-serving.flags]; a server that runs keeps those it has.

        ``save`` writes them into the user's settings file too, whose path it returns. Raises ConfigError and
        ServerStartError, nothing changed.
        """
        from serving_ctl.servers.own_files import SETTINGS, save_flags

        self.check_flags(flags, await self.known_flags())
        path = (self._source or own_file(SETTINGS)).absolute() if save else None
        if path is not None:
            save_flags(path, flags)
        settings = self._settings()
        serving = msgspec.structs.replace(settings.tf_serving, flags=dict(flags))
        await self._take(msgspec.structs.replace(settings, tf_serving=serving))
        return path

    def config_text(self, name: str) -> tuple[Path, str]:
        """The file in force for models.config, monitoring.config or batching.config, and its text.

        Raises ConfigError.
        """
        from serving_ctl.servers.own_files import config_text

        path = config_file(name).absolute()
        return path, config_text(path)

    def effective_config(self, name: str) -> tuple[Path, str]:
        """What the last start of tf-serving was given for ``name``: file and text. Raises ConfigError."""
        from serving_ctl.servers.own_files import effective_config
        from serving_ctl.servers.record import StateFiles

        return effective_config(StateFiles(state_dir().absolute(), TF_SERVING).config, name)

    def save_config(self, name: str, text: str) -> Path:
        """Write the user's own ``name``; returns its path. Raises ConfigError naming line and field."""
        from serving_ctl.servers.own_files import save_config

        return save_config(name, text)
