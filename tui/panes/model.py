"""The Model pane: what the servers serve, as a tree, and beside it the JSON they sent or a snippet that asks them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rich.highlighter import JSONHighlighter
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from serving_ctl.errors import TfServeError
from tui.conductor import SERVERS, Conductor
from tui.drawing import server_glyph, wrap
from tui.inquiry import Served, ask_model, not_disturbed
from tui.panes.pane import Pane
from tui.snippets import curl_snippet, grpc_snippet, python_snippet

INDENT = 8
"""Columns a leaf stands in from the tree's left edge, and the scroll bar."""
ASK = "Not asked yet. s starts the servers, u asks them what they serve."
VIEWS = ("JSON", "curl", "Python", "gRPC")

Place = tuple[str, str]
"""What a node of the tree is about: server and signature, either may be empty."""


def tensor_text(tensor: Any) -> Text:
    """``input_ids  int32 [?, 64]``: a free dimension is a question mark."""
    shape = (
        "unknown rank" if tensor.shape is None else str([_dimension(size) for size in tensor.shape]).replace("'", "")
    )
    return Text.assemble((tensor.name, "bold"), f"  {tensor.dtype} {shape}")


def _dimension(size: int) -> str:
    return "?" if size < 0 else str(size)


class ModelPane(Pane):
    """Tree at the left, JSON or snippet at the right."""

    DEFAULT_CSS = """
    ModelPane {
        layout: horizontal;
        #model-tree, #model-json { scrollbar-size: 1 1; }
        #model-tree { width: 1fr; min-width: 30; background: $background; padding: 0 1; }
        #model-json { width: 1fr; border: round $border; border-title-style: bold; padding: 0 1; }
        #model-json-text { width: auto; }
        &.-snippet #model-json-text { width: 1fr; }
    }
    """

    def __init__(self, conductor: Conductor) -> None:
        super().__init__(conductor)
        self._served: dict[str, Served] = {}
        self._view = VIEWS[0]
        self._place: Place = ("", "")

    def compose(self) -> ComposeResult:
        """Tree and text."""
        tree: Tree[Place] = Tree("model", id="model-tree")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        with VerticalScroll(id="model-json") as box:
            box.border_subtitle = "v another view · y copies"
            yield Static(ASK, id="model-json-text", markup=False)

    @property
    def has_answers(self) -> bool:
        """True when a server's own words are shown."""
        return any(answer.document for answer in self._served.values())

    def opened(self) -> None:
        """Ask the servers, unless a run is on and they were asked before."""
        self._tree.focus()
        if self.conductor.engine is not None and not (self.conductor.is_running and self.has_answers):
            self.run_worker(self._ask(), group="model", exclusive=True)

    def next_view(self) -> None:
        """JSON, curl, Python, gRPC, and again."""
        self._view = VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]
        self._show_text()

    def text_to_copy(self) -> str:
        """The JSON or the snippet in sight."""
        return self._text() if self.has_answers else ""

    def show_served(self, served: Sequence[Served]) -> None:
        """Show the newest answers of the servers."""
        tree = self._tree
        tree.clear()
        for answer in served:
            head = Text.assemble((f"{server_glyph(answer.server)} {answer.server}", "bold"))
            node = tree.root.add(head, data=(answer.server, ""), expand=True)
            if answer.problem:
                for part in wrap(answer.problem, max(20, tree.size.width - INDENT)):
                    node.add_leaf(Text(part), data=(answer.server, ""))
            else:
                _add_model(node, answer)
        tree.root.expand()
        self._served = {answer.server: answer for answer in served}
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
        busy = self.conductor.is_running
        asked = [not_disturbed(s) if busy else await ask_model(engine, s, self.progress) for s in SERVERS]
        self.show_served(asked)

    @property
    def _tree(self) -> Tree[Place]:
        return self.query_one("#model-tree", Tree)

    def _show_text(self) -> None:
        text = self._text()
        shown = JSONHighlighter()(Text(text)) if self._view == "JSON" else Text(text)
        self.set_class(self._view != "JSON", "-snippet")
        box = self.query_one("#model-json")
        box.border_title = "  ".join(f"[b]{view}[/b]" if view == self._view else f"[dim]{view}[/]" for view in VIEWS)
        self.query_one("#model-json-text", Static).update(shown)

    def _text(self) -> str:
        answer = self._served.get(self._place[0])
        if answer is None or answer.document is None:
            return ASK
        if self._view == "JSON":
            return json.dumps(answer.document, indent=2)
        try:
            return self._snippet(answer)
        except TfServeError as error:
            return str(error)

    def _snippet(self, answer: Served) -> str:
        """Asks the server at the cursor for the signature at the cursor, else for the first. Raises TfServeError."""
        engine, model = self.conductor.engine, answer.model
        url = self.progress.servers[answer.server].url
        if engine is None or not model.signatures:
            return ASK
        signature = next((one for one in model.signatures if one.name == self._place[1]), model.signatures[0])
        body = engine.example_body(model, signature.name)
        if self._view == "curl":
            return curl_snippet(url, model.name, body)
        if self._view == "Python":
            return python_snippet(url, model.name, body)
        return grpc_snippet(urlsplit(url).hostname or "127.0.0.1", model.name, signature, body)


def _add_model(node: TreeNode[Place], answer: Served) -> None:
    model = answer.model
    inner = node.add(Text(model.name, "bold"), data=(answer.server, ""), expand=True)
    for version in answer.versions:
        state = f"version {version.version}  {version.state}" + (f"  {version.error}" if version.error else "")
        branch = inner.add(Text(state), data=(answer.server, ""), expand=str(version.version) == model.version)
        if str(version.version) == model.version:
            _add_signatures(branch, answer.server, model)


def _add_signatures(node: TreeNode[Place], server: str, model: Any) -> None:
    for signature in model.signatures:
        place = (server, signature.name)
        head = Text.assemble((signature.name, "bold"), f"  {signature.method.rpartition('/')[2]}")
        branch = node.add(head, data=place, expand=True)
        for word, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            side = branch.add(Text(word), data=place, expand=True)
            for tensor in tensors:
                side.add_leaf(tensor_text(tensor), data=place)
