"""The Model pane: what the servers serve, as a tree, and beside it the JSON they sent or a snippet that asks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rich.highlighter import JSONHighlighter
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import ScrollableContainer
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from serving_ctl.bench.progress import Progress
from serving_ctl.errors import TfServeError
from tui import keys
from tui.conductor import Conductor, is_up
from tui.drawing import server_glyph, server_role, wrap
from tui.inquiry import Served, ask_model, not_disturbed
from tui.json_text import json_text
from tui.panes.pane import Pane
from tui.snippets import curl_snippet, grpc_obstacle, grpc_snippet, python_snippet
from tui.theme import role_style

INDENT = 8
"""Columns a leaf stands in from the tree's left edge, and the scroll bar."""
LEAST_ROOM = 20
ASK = "Not asked yet. {toggle_servers} starts the servers, {update} asks them what they serve."
VIEWS = ("JSON", "curl", "Python", "gRPC")
STATE_GLYPHS = {"AVAILABLE": "✓", "START": "◔", "LOADING": "◔", "UNLOADING": "◕", "END": "○"}

Place = tuple[str, str]
"""What a node of the tree is about: server and signature, either may be empty."""


def tensor_text(tensor: Any) -> Text:
    """``input_ids  int32 [?, 64]``: a free dimension is a question mark."""
    shape = (
        "unknown rank" if tensor.shape is None else str([_dimension(size) for size in tensor.shape]).replace("'", "")
    )
    return Text.assemble((tensor.name, "bold"), f"  {tensor.dtype} {shape}")


def version_text(version: Any) -> Text:
    """``✓ version 3  AVAILABLE``; a version that ended with an error has a cross."""
    glyph = "✗" if version.error else STATE_GLYPHS.get(version.state, "?")
    return Text(f"{glyph} version {version.version}  {version.state}")


def _dimension(size: int) -> str:
    return "?" if size < 0 else str(size)


class ModelPane(Pane):
    """Tree at the left, JSON or snippet at the right."""

    DEFAULT_CSS = """
    ModelPane {
        layout: horizontal;
        #model-tree, #model-json { scrollbar-size: 1 1; }
        #model-tree { width: 1fr; min-width: 30; max-width: 72; background: $background; padding: 0 1; }
        #model-tree:focus { background-tint: $background 0%; }
        #model-json { width: 1fr; border: round $border; border-title-color: $foreground; padding: 0 1;
                      border-subtitle-color: $quiet; }
        #model-json:focus { border: round $accent; }
        #model-json-text { width: auto; }
        &.-wrapped #model-json-text { width: 1fr; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._served: dict[str, Served] = {}
        self._view = VIEWS[0]
        self._place: Place = ("", "")
        self._up: frozenset[str] = frozenset()
        self._was_busy = False

    def compose(self) -> ComposeResult:
        """Tree and text."""
        tree: Tree[Place] = Tree("model", id="model-tree")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        with ScrollableContainer(id="model-json") as box:
            box.border_subtitle = keys.say("{next_view} another view · {copy} copies")
            yield Static(keys.say(ASK), id="model-json-text", markup=False)

    def on_mount(self) -> None:
        """The servers' names have colours of the theme."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self.show_served(list(self._served.values())))

    @property
    def has_answers(self) -> bool:
        """True when a server's own words are shown."""
        return any(answer.document for answer in self._served.values())

    def opened(self) -> None:
        """Ask the servers, unless a run is on and they were asked before."""
        self._tree.focus()
        if self.conductor.engine is not None and not (self._is_busy and self.has_answers):
            self.run_worker(self._ask(), group="model", exclusive=True)

    def watch_progress(self, progress: Progress) -> None:
        """A server came up or went, or a run that kept us from asking has ended: ask while the pane is in sight."""
        up = frozenset(server for server in self.conductor.servers if is_up(progress, server))
        busy = self._is_busy
        may_ask = (up != self._up and not (busy and self.has_answers)) or (self._was_busy and not busy)
        if may_ask and self.in_sight:
            self.run_worker(self._ask(), group="model", exclusive=True)
        self._up, self._was_busy = up, busy

    def next_view(self) -> None:
        """JSON, curl, Python, gRPC, and again."""
        self._view = VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]
        self._show_text()

    def text_to_copy(self) -> str:
        """The JSON or the snippet in sight."""
        return self._text() if self.has_answers else ""

    def show_served(self, served: Sequence[Served]) -> None:
        """Show the newest answers of the servers; the text stays at the server it is about."""
        tree = self._tree
        tree.clear()
        for answer in served:
            style = role_style(server_role(answer.server), self.app.theme_variables) + Style(bold=True)
            head = Text(f"{server_glyph(answer.server)} {answer.server}", style)
            node = tree.root.add(head, data=(answer.server, ""), expand=True)
            inner = node
            if answer.model is not None:
                inner = node.add(Text(answer.model.name, "bold"), data=(answer.server, ""), expand=True)
            for version in answer.versions:
                self._add_version(inner, answer, version)
            self._add_sentence(node, answer.server, answer.problem)
        tree.root.expand()
        self._served = {answer.server: answer for answer in served}
        if (shown := self._served.get(self._place[0])) is None or shown.document is None:
            self._place = (next((answer.server for answer in served if answer.document), ""), "")
        self._show_text()

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[Place]) -> None:
        """The text is about the server and the signature that the cursor is at."""
        if event.node.data:
            self._place = event.node.data
            self._show_text()

    async def _ask(self) -> None:
        engine = self.conductor.engine
        if engine is None:
            return
        busy, servers = self._is_busy, self.conductor.servers
        progress = self.progress
        asked = [not_disturbed(s, progress) if busy else await ask_model(engine, s, progress) for s in servers]
        self.call_after_refresh(self.show_served, asked)  # the tree has its width then, which sentences wrap to

    @property
    def _is_busy(self) -> bool:
        """A run is on and has not ended; after its end nothing is measured, though it is still being kept."""
        run = self.progress.run
        return self.conductor.is_running and (run is None or run.end is None)

    def _add_version(self, node: TreeNode[Place], answer: Served, version: Any) -> None:
        is_asked = answer.model is not None and version.version == answer.model.version
        branch = node.add(version_text(version), data=(answer.server, ""), expand=True)
        branch.allow_expand = is_asked or bool(version.error)
        self._add_sentence(branch, answer.server, version.error)
        if is_asked:
            _add_signatures(branch, answer.server, answer.model)

    def _add_sentence(self, node: TreeNode[Place], server: str, sentence: str) -> None:
        for part in wrap(sentence, max(LEAST_ROOM, self._tree.size.width - INDENT)):
            node.add_leaf(Text(part), data=(server, ""))

    @property
    def _tree(self) -> Tree[Place]:
        return self.query_one("#model-tree", Tree)

    def _show_text(self) -> None:
        text = self._text()
        is_json = text.startswith("{")
        self.set_class(not is_json, "-wrapped")
        box = self.query_one("#model-json")
        box.border_title = "  ".join(f"[b]{view}[/b]" if view == self._view else f"[dim]{view}[/]" for view in VIEWS)
        self.query_one("#model-json-text", Static).update(JSONHighlighter()(Text(text)) if is_json else Text(text))

    def _text(self) -> str:
        answer = self._served.get(self._place[0])
        if answer is None or answer.document is None:
            return (answer.problem if answer else "") or keys.say(ASK)
        if self._view == "JSON":
            return json_text(answer.document)
        try:
            return self._snippet(answer)
        except TfServeError as error:
            return str(error)

    def _snippet(self, answer: Served) -> str:
        """Asks the server at the cursor for the signature at the cursor, else for the first. Raises TfServeError."""
        engine, model = self.conductor.engine, answer.model
        changed = self.progress.servers[answer.server]
        if engine is None or not model.signatures:
            return "The model has no signature to ask for."
        if self._view == "gRPC" and (obstacle := grpc_obstacle(changed)):
            return obstacle
        signature = next((one for one in model.signatures if one.name == self._place[1]), model.signatures[0])
        body = engine.example_body(model, signature.name)
        is_external = changed.runtime == "external"
        headers = engine.settings.server(answer.server).headers if is_external else {}
        if self._view == "curl":
            return curl_snippet(changed.url, model.name, body, headers)
        if self._view == "Python":
            return python_snippet(changed.url, model.name, body, headers)
        return grpc_snippet(urlsplit(changed.url).hostname or "127.0.0.1", model.name, signature, body)


def _add_signatures(node: TreeNode[Place], server: str, model: Any) -> None:
    for signature in model.signatures:
        place = (server, signature.name)
        head = Text.assemble((signature.name, "bold"), f"  {signature.method.rpartition('/')[2]}")
        branch = node.add(head, data=place, expand=True)
        for word, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            side = branch.add(Text(word), data=place, expand=True)
            for tensor in tensors:
                side.add_leaf(tensor_text(tensor), data=place)
