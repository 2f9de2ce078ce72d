"""The base of all drawn widgets: lines of spans on the screen, and only changed rows painted again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.reactive import var
from textual.strip import Strip
from textual.widget import Widget

from serving_ctl.bench.progress import Progress
from tui.drawing import Line
from tui.theme import role_style


class Drawn(Widget):
    """A widget whose content is ``draw(size)``. ``redraw`` compares with what is shown and repaints single rows."""

    DEFAULT_CSS = "Drawn { height: auto; }"

    progress: var[Progress] = var(Progress(), init=False)
    """What is known of servers and run; bound to the main screen's."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._lines: Sequence[Line] = ()
        self._drawn_size = Size(0, 0)
        self._wanted_height = -1
        """Rows the widget asked for at the last layout; more than it got where there is no room."""
        self._styles_of_roles: dict[str, Style] = {}

    def draw(self, size: Size) -> Sequence[Line]:
        """The lines of the widget's content; ``size.height`` is 0 while its height is being asked for."""
        raise NotImplementedError

    def watch_progress(self) -> None:
        """Show the newest progress."""
        self.redraw()

    def redraw(self) -> None:
        """Draw again and repaint the rows that changed, or lay out again when their number did."""
        size = self.content_size
        if not self.is_mounted or not size.width:
            return
        if self.styles.is_auto_height and len(self.draw(Size(size.width, 0))) != self._wanted_height:
            self._drawn_size = Size(0, 0)
            self.refresh(layout=True)
            return
        lines, old = self.draw(size), self._lines
        self._lines, self._drawn_size = lines, size
        changed = [y for y, pair in enumerate(zip(lines, old, strict=False)) if pair[0] != pair[1]]
        changed += range(min(len(lines), len(old)), max(len(lines), len(old)))
        if changed:
            self.refresh(*(Region(0, y, size.width, 1) for y in changed))

    def shown_again(self) -> None:
        """Draw anew: what it shows may have changed while it was out of sight."""
        self._drawn_size = Size(0, 0)
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as there are lines at this width."""
        self._wanted_height = len(self.draw(Size(width, 0)))
        return self._wanted_height

    def notify_style_update(self) -> None:
        """Forget what was drawn: the style may have changed the size."""
        super().notify_style_update()
        self._drawn_size = Size(0, 0)
        self._styles_of_roles.clear()

    def render_line(self, y: int) -> Strip:
        """Row ``y`` of the content."""
        size = self.content_size
        if self._drawn_size != size:
            self._lines, self._drawn_size = self.draw(size), size
        spans = self._lines[y] if y < len(self._lines) else ()
        segments = [Segment(span.text, self._style(span.role)) for span in spans]
        return Strip(segments).adjust_cell_length(size.width, self.rich_style)

    def _style(self, role: str) -> Style:
        """The widget's own style with what the theme says of each role on top."""
        if role not in self._styles_of_roles:
            parts = (role_style(name, self.app.theme_variables) for name in role.split())
            self._styles_of_roles[role] = Style.combine([self.rich_style, *parts])
        return self._styles_of_roles[role]
