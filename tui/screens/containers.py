"""The TensorFlow Serving containers of the Docker engine, ours or not, and the docker command of a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType
from textual.widgets import Static

from serving_ctl import formatting
from serving_ctl.errors import TfServeError
from tui import keys
from tui.drawing import cut
from tui.screens.listing import Listing

if TYPE_CHECKING:
    from serving_ctl.engine import Engine


NAME_COLUMNS = 34
"""What is shown of names, such as those of Swarm tasks and images without a tag, so that the rest stays in sight."""


class ContainersScreen(Listing):
    """One line a container."""

    TITLE = "TensorFlow Serving containers"
    PLACE = "containers"
    COLUMNS: ClassVar[tuple[str, ...]] = ("name", "status", "address", "whose", "image")
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings("containers")]

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._found: tuple[Any, ...] = ()
        self._agreed = ""
        """The container whose stop was asked for once."""

    def on_mount(self) -> None:
        """Show the command; the base looks."""
        try:
            self._command = self._engine.parts.docker_command()
        except TfServeError as error:
            self._command = ""
            self.query_one("#listing-more", Static).update(str(error))
        else:
            self.query_one("#listing-more", Static).update(f"A start as docker is:\n{self._command}")

    async def load(self) -> Sequence[Sequence[str]]:
        """The containers as the engine tells them."""
        self._found = await self._engine.parts.containers()
        return [
            (
                cut(one.name, NAME_COLUMNS),
                one.status,
                one.url.removeprefix("http://") or "not published",
                "ours" if one.ours else "other",
                cut(one.image, NAME_COLUMNS),
            )
            for one in self._found
        ]

    def looked(self, count: int) -> None:
        """How many there are."""
        self.say(formatting.plural(count, "container") + ("" if count else "; nothing runs TensorFlow Serving here."))

    def action_adopt(self) -> None:
        """Take it as our tf-serving."""
        if name := self._chosen:
            self.do(self._adopt(name), f"asking {name} for a prediction …")

    def action_stop(self) -> None:
        """Stop and remove; only when asked twice."""
        name = self._chosen
        if name and self._agreed == name:
            self.do(self._engine.parts.stop_container(name), f"stopping {name} …")
        elif name:
            self._agreed = name
            self.say(keys.say("{containers_stop}") + f" again stops and removes {name}, whoever made it.")

    def action_copy(self) -> None:
        """The docker command."""
        if self._command:
            self.app.copy_to_clipboard(self._command)
            self.say("The docker command is copied.")

    @property
    def _chosen(self) -> str:
        return str(self._found[self.row].name) if 0 <= self.row < len(self._found) else ""

    async def _adopt(self, name: str) -> None:
        await self._engine.parts.adopt_container(name)
