"""The two themes of our own, and what our style variables are under every other theme."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from serving_ctl.errors import ConfigError

DARK_VARIABLES = {
    "server-tf-serving": "#6db5ff",
    "server-flask": "#ffa24d",
    "server-3": "#d48cff",
    "server-4": "#4fd6c8",
    "server-5": "#f2a0c0",
    "server-6": "#b8c95a",
    "better": "#5ecb72",
    "worse": "#ff7a7a",
    "even": "#d9c76a",
    "warn": "#ffd05c",
    "quiet": "#98a3ad",
    "faint": "#5c6670",
    "cursor": "#2b4a52",
}
LIGHT_VARIABLES = {
    "server-tf-serving": "#0a58b8",
    "server-flask": "#a84a00",
    "server-3": "#7a2fb5",
    "server-4": "#00716a",
    "server-5": "#a02c66",
    "server-6": "#5a6600",
    "better": "#14702a",
    "worse": "#b81f2d",
    "even": "#6d5a00",
    "warn": "#8a5a00",
    "quiet": "#555f68",
    "faint": "#a3abb2",
    "cursor": "#cfe5e8",
}
"""``server-*``: the servers' own colours everywhere, by number for those beyond the two; ``better``, ``worse`` and
``even``: verdicts; ``warn``: take care; ``quiet``: said beside; ``faint``: grid lines; ``cursor``: the selected row."""

THEMES = (
    Theme(
        name="tfserve-dark",
        primary="#5db5b5",
        secondary="#4b8f96",
        accent="#f0c25c",
        foreground="#dfe5ea",
        background="#12161b",
        surface="#181d23",
        panel="#232b34",
        success="#5ecb72",
        warning="#ffd05c",
        error="#ff7a7a",
        dark=True,
        variables={**DARK_VARIABLES, "footer-key-foreground": "#f0c25c", "border": "#3a4651"},
    ),
    Theme(
        name="tfserve-light",
        primary="#0d6e73",
        secondary="#3b8a8e",
        accent="#8a5a00",
        foreground="#1d242a",
        background="#fafaf7",
        surface="#f1f2ee",
        panel="#e2e6e6",
        success="#14702a",
        warning="#8a5a00",
        error="#b81f2d",
        dark=False,
        variables={**LIGHT_VARIABLES, "footer-key-foreground": "#8a5a00", "border": "#b8c0c4"},
    ),
)


ROLE_LOOKS: dict[str, tuple[str, str, bool]] = {
    "tf-serving": ("server-tf-serving", "", False),
    "flask": ("server-flask", "", False),
    "server-3": ("server-3", "", False),
    "server-4": ("server-4", "", False),
    "server-5": ("server-5", "", False),
    "server-6": ("server-6", "", False),
    "strong": ("", "", True),
    "quiet": ("quiet", "", False),
    "faint": ("faint", "", False),
    "better": ("better", "", False),
    "worse": ("worse", "", False),
    "even": ("even", "", False),
    "warn": ("warn", "", False),
    "bar": ("primary", "", False),
    "key": ("accent", "", True),
    "brand": ("background", "primary", True),
    "heading": ("", "panel", True),
    "cursor": ("", "cursor", False),
}
"""For each role of a drawn span: the theme variables of its colour and background, and whether it is bold."""


def role_style(role: str, variables: Mapping[str, str]) -> Style:
    """What ``role`` adds to a widget's own style under a theme with these ``variables``."""
    colour, background, bold = ROLE_LOOKS[role]
    return Style(
        color=Color.parse(variables[colour]).rich_color if colour else None,
        bgcolor=Color.parse(variables[background]).rich_color if background else None,
        bold=True if bold else None,
    )


def default_variables(dark: bool) -> dict[str, str]:
    """Our style variables for a theme that does not know them."""
    return dict(DARK_VARIABLES if dark else LIGHT_VARIABLES)


def check_theme(name: str, known: Iterable[str]) -> None:
    """Raise ConfigError naming the known themes when ``name`` is none of them."""
    names = sorted(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? Known" if near else "known"
    raise ConfigError(f"theme {name!r} is not known; {hint}: {', '.join(names)}.")
