"""``python -m serving_ctl.embedded``: flags in, exit code out. TensorFlow is imported only when it is needed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import sys

from serving_ctl.embedded import NAME
from serving_ctl.embedded.options import Options, help_text, read_options
from serving_ctl.errors import Exit, MissingExtra, TfServeError

_LEVEL_LETTERS = {"DEBUG": "D", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "F"}
_NEEDED = ("tensorflow", "tensorflow_serving", "orjson", "httptools", "uvloop")
_log = logging.getLogger("serving_ctl.embedded")


class _ServingFormatter(logging.Formatter):
    """Log lines in TensorFlow's layout: ``2026-11-22 14:24:31.361134: I file.py:104] text``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the trace under it if the record has one."""
        when = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')}.{int(record.created % 1 * 1e6):06}"
        letter = _LEVEL_LETTERS.get(record.levelname, "I")
        text = f"{when}: {letter} serving_ctl/embedded/{record.filename}:{record.lineno}] {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def main() -> int:
    """Run the server with the flags of this process."""
    try:
        options, warnings = read_options(sys.argv[1:])
        if options.help:
            sys.stdout.write(help_text() + "\n")
            return Exit.DONE
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingExtra(f"The embedded server ({', '.join(missing)} not found)")
    except TfServeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if options.version:
        sys.stdout.write(f"{_version_line()}\n")
        return Exit.DONE
    return _serve(options, warnings)


def _version_line() -> str:
    return f"{NAME} {_version('tfserve-tui')}, TensorFlow {_version('tensorflow')}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "?"  # run from a source tree that is not installed


def _serve(options: Options, warnings: list[str]) -> int:
    _log_to_stderr()
    for warning in warnings:
        _log.warning(warning)
    _log.info("%s", _version_line())
    # TensorFlow's own start-up notes say nothing about the models; its warnings stay.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # TensorFlow would load Keras, and that Matplotlib: a quarter of its import. The older Keras is not installed.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from serving_ctl.embedded.startup import serve

    return serve(options)


def _log_to_stderr() -> None:
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_ServingFormatter())
    logging.basicConfig(handlers=[stream], level=logging.WARNING, force=True)
    _log.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
