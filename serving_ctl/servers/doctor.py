"""What a start-up log or an exit code means, as one sentence and one fix. Pure functions on text.

Matched is the text of a log line, never its file:line prefix, which moves between releases.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

from serving_ctl.servers.running import Ending

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
ERROR_LINE = re.compile(r"\b(error|failed|fatal|cannot|could ?n[o']t|critical)\b", re.IGNORECASE)
LOG_PREFIX = re.compile(
    r"^(?:\d{4}-\d\d-\d\d[ T][\d:.]+: )?(?:\[[\d :+-]+\] \[\d+\] \[\w+\] )?"
    r"[IWEF]?(?:\d{4} [\d:.]+ +\d+ )?\s*(?:\S+\] )?"
)


@dataclass(frozen=True)
class Diagnosis:
    """``sentence`` says what is wrong, ``fix`` what to do; ``hopeless`` when waiting longer cannot help."""

    sentence: str
    fix: str
    hopeless: bool = True

    def __str__(self) -> str:
        return f"{self.sentence} {self.fix}"


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str], str], Diagnosis]


def _rule(pattern: str, sentence: str, fix: str, *, hopeless: bool = True) -> _Rule:
    """A rule whose texts are format strings over the pattern's groups, numbered from 0."""

    def read(match: re.Match[str], _log: str) -> Diagnosis:
        return Diagnosis(sentence.format(*match.groups()), fix.format(*match.groups()), hopeless)

    return _Rule(re.compile(pattern, re.MULTILINE), read)


def _bad_value(match: re.Match[str], log: str) -> Diagnosis:
    value, flag = match.groups()
    declared = re.search(rf"^\s*--{flag}=\S*\s+\t(\w+)\t", log, re.MULTILINE)
    kind = f" of type {declared[1]}" if declared else " of its type"
    return Diagnosis(f"--{flag} cannot be {value!r}.", f"Give it a value{kind} in [tf-serving].")


def _load_failed(match: re.Match[str], _log: str) -> Diagnosis:
    name, version, reason = match.groups()
    return Diagnosis(
        f"Version {version} of model {name} cannot be loaded: {reason}.",
        "The SavedModel is damaged or incomplete: export it again, or remove that version's folder.",
    )


# The first rule that matches decides, so what stops a start stands before what only disturbs it.
_RULES = (
    _rule(
        r"Error parsing text-format tensorflow\.serving\.(\w+): (\d+):(\d+): (.*)$",
        "The {0} file has an error in line {1}, column {2}: {3}",
        "Correct it in the template under configs/.",
    ),
    _Rule(re.compile(r"Couldn't interpret value (\S+) for flag (\w+)\."), _bad_value),
    _rule(
        r"Could not find base path (\S+) for servable (\S+)",
        "Model {1} has no base folder {0} where the server looks.",
        "Set [model] path to the folder above the version folders; in a container it must also be mounted.",
    ),
    _rule(
        r"No versions of servable (\S+) found under base path (\S+?)\.(?:\s|$)",
        "There is no numeric version folder for model {0} under {1}.",
        "Name the version folder as a number, for example {1}/1, or export the model again.",
    ),
    _rule(
        r"batching_parameters_file is set without setting",
        "A batching file is given but batching is off.",
        "Set enable_batching = true, or leave batching_parameters_file out.",
    ),
    _rule(
        r"Failed to start server\. Error: NOT_FOUND: (\S+); No such file or directory",
        "The server finds no file {0}.",
        "Check the path of the config file as the server sees it (inside the container).",
    ),
    _rule(
        r"Expected model (\S+) to have an absolute path or URI; got base_path\(\)=(\S*)",
        'The base_path of model {0} is "{1}", which is not absolute.',
        "Write the full path in models.config, for example /models/{0}.",
    ),
    _rule(
        r"http_port cannot be same as grpc_port",
        "The REST port is the gRPC port, so the server ends without REST.",
        "Give rest_api_port and port different numbers.",
    ),
    _Rule(re.compile(r"Loading servable: \{name: (\S+) version: (\d+)\} failed: (.*?)\.?$", re.M), _load_failed),
    _rule(
        r"(?:Connection in use|[Aa]ddress already in use)(?:: \('?([\d.]+)'?, (\d+)\))?",
        "The port was taken by another process while the server started.",
        "End that process, or set another port.",
    ),
    _rule(
        r"No space left on device",
        "The disk is full.",
        "Free some space where the model and the state folder lie.",
    ),
    _rule(
        r"(?:Illegal instruction|requires? AVX|TensorFlow library was compiled to use AVX)",
        "This processor lacks an instruction set (AVX) that the server was built for.",
        "Use runtime = \"embedded\", or another machine.",
    ),
    _rule(
        r"exec format error",
        "The image is for another processor than this engine's.",
        'Use runtime = "embedded": TensorFlow Serving is published for amd64 only.',
    ),
    _rule(
        r"Too many open files",
        "The server ran out of file descriptors.",
        "Raise the limit (ulimit -n 20000) before starting tfserve-tui.",
    ),
    _rule(
        r"(?:MemoryError|std::bad_alloc|Cannot allocate memory|RESOURCE_EXHAUSTED: OOM)",
        "The server ran out of memory.",
        "Use fewer workers or a smaller batch, or free some memory.",
    ),
    _rule(
        r"ModuleNotFoundError: No module named '([\w.]+)'",
        "The Python package {0} is not installed.",
        "pip install 'tfserve-tui[local]'",
    ),
    _rule(r"Failed to start server\. Error: (.*)$", "The server refused to start: {0}", "Correct what it names."),
    _rule(
        r"The specified SavedModel has no variables; no checkpoints were restored\. File does not exist: (\S+)",
        "The SavedModel has no {0}: it loads, but predictions fail.",
        "Export the model again; a copy must include the variables folder.",
        hopeless=False,
    ),
    _rule(
        r"unknown argument: (--\w+)",
        "The server does not know the flag {0} and started without it.",
        "Remove or correct it.",
        hopeless=False,
    ),
)  # fmt: skip


def diagnose_log(log: str) -> Diagnosis | None:
    """What ``log`` says went wrong, or None when nothing in it is known as a fault."""
    text = ANSI.sub("", log)
    for rule in _RULES:
        if match := rule.pattern.search(text):
            return rule.read(match, text)
    return None


def diagnose_ending(ending: Ending) -> Diagnosis | None:
    """What an exit code says by itself, or None."""
    if ending.removed:
        return Diagnosis("Its container was removed by somebody else.", "Start it again.")
    if ending.out_of_memory:
        return Diagnosis(
            "It was killed for want of memory.", "Raise or remove the memory limit, or use smaller batches."
        )
    if ending.code in {132, -signal.SIGILL}:
        return Diagnosis(
            "This processor lacks an instruction set (AVX) that the server was built for.", 'Use runtime = "embedded".'
        )
    if ending.code in {137, -signal.SIGKILL}:
        return Diagnosis(
            "It was killed (SIGKILL), by a user or for want of memory.", "Look at the memory and start it again."
        )
    return None


def deciding_line(log: str) -> str:
    """The line that says most of why a server ended: the last one that reads as an error, else the last one."""
    lines = [line.strip() for line in ANSI.sub("", log).splitlines() if line.strip()]
    errors = [line for line in lines if ERROR_LINE.search(line)]
    chosen = (errors or lines or [""])[-1]
    line = LOG_PREFIX.sub("", chosen)
    return line if len(line) <= 200 else line[:199] + "…"


def explain_end(server: str, ending: Ending, log: str) -> str:
    """One line: that ``server`` ended, how, why, and what to do."""
    how = "" if ending.code is None else f" with exit code {ending.code}"
    if ending.code is not None and ending.code < 0:
        how = f" by {signal.Signals(-ending.code).name}"
    known = diagnose_ending(ending) or diagnose_log(log)
    why = str(known) if known else deciding_line(log) or "It wrote nothing."
    return f"{server} ended{how}: {why}"


def explain_timeout(server: str, limit_s: float, log: str, last_answer: str) -> str:
    """One line: that ``server`` was not ready in time, with the best reason there is."""
    known = diagnose_log(log)
    why = str(known) if known else f"last log line: {deciding_line(log)}" if log.strip() else last_answer
    return f"{server} was not ready within {limit_s:g} s; {why}"
