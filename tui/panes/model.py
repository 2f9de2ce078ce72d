"""The Model pane: what the servers serve, as a tree (versions, signatures, tensors) and as the JSON they sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.highlighter import JSONHighlighter
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from tui.drawing import server_glyph, wrap
from tui.inquiry import Served

INDENT = 8
"""Columns a leaf stands in from the tree's left edge, and the scroll bar."""
ASK = "Not asked yet. s starts the servers, u asks them what they serve."


def tensor_text(tensor: Any) -> Text:
    """``input_ids  int32 [?, 64]``: a free dimension is a question mark."""
    shape = (
        "unknown rank" if tensor.shape is None else str([_dimension(size) for size in tensor.shape]).replace("'", "")
    )
    return Text.assemble((tensor.name, "bold"), f"  {tensor.dtype} {shape}")


def _dimension(size: int) -> str:
    return "?" if size < 0 else str(size)


class ModelPane(Horizontal):
    """Tree at the left, JSON at the right."""

    DEFAULT_CSS = """
    ModelPane {
        #model-tree, #model-json { scrollbar-size: 1 1; }
        #model-tree { width: 1fr; min-width: 30; background: $background; padding: 0 1; }
        #model-json { width: 1fr; border-left: vkey $border; padding: 0 1; }
        #model-json-text { width: auto; }
    }
    """

    def __init__(self) -> None:
        super().__init__(id="model-pane")
        self._documents: dict[str, dict[str, Any] | None] = {}

    def compose(self) -> ComposeResult:
        """Tree and JSON."""
        tree: Tree[str] = Tree("model", id="model-tree")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        with VerticalScroll(id="model-json"):
            yield Static(ASK, id="model-json-text", markup=False)

    @property
    def has_answers(self) -> bool:
        """True when a server's own words are shown."""
        return any(self._documents.values())

    def show_served(self, served: Sequence[Served]) -> None:
        """Show the newest answers of the servers."""
        tree = self._tree
        tree.clear()
        for answer in served:
            head = Text.assemble((f"{server_glyph(answer.server)} {answer.server}", "bold"))
            node = tree.root.add(head, data=answer.server, expand=True)
            if answer.problem:
                for part in wrap(answer.problem, max(20, tree.size.width - INDENT)):
                    node.add_leaf(Text(part), data=answer.server)
            else:
                _add_model(node, answer)
        tree.root.expand()
        self._documents = {answer.server: answer.document for answer in served}
        first = next((answer.server for answer in served if answer.document), "")
        self._show_document(first)

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        """The JSON is that of the server the cursor is at."""
        if event.node.data:
            self._show_document(event.node.data)

    @property
    def _tree(self) -> Tree[str]:
        return self.query_one("#model-tree", Tree)

    def _show_document(self, server: str) -> None:
        document = self._documents.get(server)
        shown = JSONHighlighter()(Text(json.dumps(document, indent=2))) if document else Text(ASK)
        self.query_one("#model-json-text", Static).update(shown)


def _add_model(node: TreeNode[str], answer: Served) -> None:
    model = answer.model
    inner = node.add(Text(model.name, "bold"), data=answer.server, expand=True)
    for version in answer.versions:
        state = f"version {version.version}  {version.state}" + (f"  {version.error}" if version.error else "")
        branch = inner.add(Text(state), data=answer.server, expand=str(version.version) == model.version)
        if str(version.version) == model.version:
            _add_signatures(branch, answer.server, model)


def _add_signatures(node: TreeNode[str], server: str, model: Any) -> None:
    for signature in model.signatures:
        branch = node.add(
            Text.assemble((signature.name, "bold"), f"  {signature.method.rpartition('/')[2]}"),
            data=server,
            expand=True,
        )
        for word, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            side = branch.add(Text(word), data=server, expand=True)
            for tensor in tensors:
                side.add_leaf(tensor_text(tensor), data=server)
