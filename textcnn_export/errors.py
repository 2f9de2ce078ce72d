"""The one error of this program that is meant for the user."""

from __future__ import annotations


class ExportError(Exception):
    """The export cannot be made; the text says what happened, why, and what to do, in one or two lines."""
