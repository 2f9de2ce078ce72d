"""What the documents promise: links that lead somewhere, commands and settings that exist, two READMEs that agree."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from serving_ctl.cli import cli
from serving_ctl.config import Settings, convert_table

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCUMENTS = [ENGLISH, CHINESE, *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


@documents
def test_every_link_leads_to_a_file(path):
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


@documents
def test_every_command_and_option_exists(path):
    told = commands(path.read_text(encoding="utf-8"))
    assert [line for line in told if what_is_wrong(line)] == []


@documents
def test_every_setting_exists(path):
    for language, block in BLOCK.findall(path.read_text(encoding="utf-8")):
        if language == "toml" and "# presets.toml" not in block:
            convert_table(tomllib.loads(block), Settings, path)


def test_both_readmes_say_the_same():
    """Headings, commands, settings, links and rows of tables are as many and as they are in English."""
    english, chinese = (path.read_text(encoding="utf-8") for path in (ENGLISH, CHINESE))
    english = re.sub(r"<!-- keys.*end of keys -->\n", "", english, flags=re.DOTALL)
    for pattern in (r"^#+ ", r"^\|", r"^- ", r"^```"):
        found = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert found[0] == found[1], pattern
    assert sorted(commands(english)) == sorted(commands(chinese))
    targets = [sorted(set(LINK.findall(text)) - {ENGLISH.name, CHINESE.name}) for text in (english, chinese)]
    assert targets[0] == targets[1]


def commands(text: str) -> list[str]:
    """Every line of ours that the text tells to type, without its comment."""
    lines = [line for language, block in BLOCK.findall(text) if language == "sh" for line in block.splitlines()]
    told = [*lines, *CODE.findall(BLOCK.sub("", text))]
    return [line.partition("#")[0].strip() for line in told if line.startswith("tfserve-tui ")]


def what_is_wrong(line: str) -> str:
    """A command, option or choice in ``line`` that does not exist; empty when all do. `…` and `R` may stand for any."""
    said = shlex.split(line.replace(" COMMAND", ""))[1:]
    words = ["2" if word == "…" or word.isupper() else word for word in said]
    try:
        context = cli.make_context("tfserve-tui", words)
        if context._protected_args:
            name, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            command.make_context(name, rest, parent=context)
    except (click.exceptions.Exit, click.MissingParameter):
        return ""
    except click.UsageError as error:
        return error.format_message()
    return ""
