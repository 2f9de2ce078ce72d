"""Every error the engine raises on purpose, as one tree, and the exit codes of the command line.

TfServeError
├── ConfigError          settings, presets or arguments that cannot be used        exit 2
├── MissingExtra         a command needs an extra that is not installed            exit 2
├── ServerStartError     a server did not become ready                             exit 3
├── ServerAnswerError    a server answered something that is not an answer         exit 4
├── RunIncomplete        a run ended before its last cell                          exit 4
├── ParityError          the two servers do not predict the same                   exit 4
├── StoreError           the kept runs cannot be read or written                   exit 4
├── LoadError            the load engine could not do its work                     exit 4
└── ClusterError         a Dask cluster cannot be reached or used                  exit 3

An error's text is for people: what happened, why, and what to do, in one or two lines.
"""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes of ``tfserve-tui``; scripts depend on them."""

    DONE = 0
    FAULT = 1  # a fault of ours: one line on stderr, the trace in the log file
    USAGE = 2
    NOT_STARTED = 3
    INCOMPLETE = 4
    REGRESSION = 5
    INTERRUPTED = 130
    TERMINATED = 143


class TfServeError(Exception):
    """Base of every error that is meant for the user; ``exit_code`` is what the command line returns."""

    exit_code: Exit = Exit.FAULT


class ConfigError(TfServeError):
    """Settings, presets or arguments that cannot be used; the text names file, key and the nearest known key."""

    exit_code = Exit.USAGE


class MissingExtra(TfServeError):
    """A command needs an ``extra`` that is not installed: ``local`` brings TensorFlow and Flask."""

    exit_code = Exit.USAGE

    def __init__(self, what: str, extra: str = "local") -> None:
        super().__init__(f"{what} needs tfserve-tui[{extra}]: pip install 'tfserve-tui[{extra}]'")


class ServerStartError(TfServeError):
    """A server did not become ready; the text says why, with the deciding line of its log."""

    exit_code = Exit.NOT_STARTED


class ServerAnswerError(TfServeError):
    """A server answered something that is not the answer its contract promises."""

    exit_code = Exit.INCOMPLETE


class RunIncomplete(TfServeError):
    """A run ended before its last cell; the finished cells are kept."""

    exit_code = Exit.INCOMPLETE


class ParityError(TfServeError):
    """The two servers do not predict the same (rule R22)."""

    exit_code = Exit.INCOMPLETE


class StoreError(TfServeError):
    """The kept runs cannot be read or written; the text says why and what to do."""

    exit_code = Exit.INCOMPLETE


class LoadError(TfServeError):
    """The load engine could not do its work: limits too low, bodies unreadable, a worker lost."""

    exit_code = Exit.INCOMPLETE


class ClusterError(TfServeError):
    """A Dask cluster cannot be reached, or its workers cannot be used: another version, a URL out of their reach."""

    exit_code = Exit.NOT_STARTED
