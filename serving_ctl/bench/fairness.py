"""The fairness card: under which conditions servers were measured, as facts with a mark (rule R23)."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from serving_ctl import formatting
from serving_ctl.bench.parity import Parity
from serving_ctl.bench.plan import Plan
from serving_ctl.config import Settings
from serving_ctl.events import Fact, Target

UNREAD = "?"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One measured server: its target, the runtime's key, and whether it serves our own model folder."""

    target: Target
    runtime: str
    addresses: tuple[str, ...] = ()
    """Base URLs where several share the load; empty for one."""

    @property
    def is_local(self) -> bool:
        """False for a server somebody else runs, whose model and settings we cannot see."""
        return self.runtime != "external"


def fairness_facts(
    subjects: Sequence[Subject],
    settings: Settings,
    plan: Plan,
    parity: Parity,
    model_hash: str,
    load: Sequence[Fact] = (),
) -> tuple[Fact, ...]:
    """All facts of the card; those that need attention first. ``load`` is what is to be said of where it comes from."""
    facts = [
        _parity_fact(parity),
        _model_fact(subjects, model_hash),
        *_runtime_facts(subjects, settings),
        *_setting_facts(subjects, settings, plan),
        *_machine_facts(),
    ]
    facts = [*(fact for fact in facts if fact.key not in {one.key for one in load}), *load]
    order = {"warn": 0, "ok": 1, "info": 2}
    return tuple(sorted(facts, key=lambda fact: order[fact.mark]))


def model_digest(version_folder: Path) -> str:
    """SHA-256 over graph, variables and assets of one SavedModel version, 12 hex digits; UNREAD when unreadable."""
    digest = hashlib.sha256()
    try:
        parts = (version_folder / "variables", version_folder / "assets")
        files = [
            version_folder / "saved_model.pb",
            *sorted(p for part in parts for p in part.rglob("*") if p.is_file()),
        ]
        for path in files:
            digest.update(path.relative_to(version_folder).as_posix().encode())
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError:
        return UNREAD
    return digest.hexdigest()[:12]


def _parity_fact(parity: Parity) -> Fact:
    if parity.problem:
        return Fact(key="predictions", mark="warn", short="predictions DIFFER", text=f"differ: {parity.problem}")
    size = formatting.magnitude(parity.difference)
    inputs = formatting.plural(parity.bodies, "sampled request")
    return Fact(
        key="predictions",
        mark="ok",
        short=f"predictions agree ({size})",
        text=f"agree on {inputs}, largest difference {size}",
    )


def _model_fact(subjects: Sequence[Subject], model_hash: str) -> Fact:
    if model_hash != UNREAD and all(subject.is_local for subject in subjects):
        short = f"same model {model_hash[:4]}…{model_hash[-2:]}"
        return Fact(key="model", mark="ok", short=short, text=f"the same files for both, SHA-256 {model_hash}…")
    unread = model_hash == UNREAD
    seen = "the model's files cannot be read here" if unread else "an external server's files cannot be seen"
    return Fact(key="model", mark="warn", short="same model not checked", text=f"{seen}, so they were not compared")


def _runtime_facts(subjects: Sequence[Subject], settings: Settings) -> list[Fact]:
    facts = [
        Fact(
            key=subject.target.name,
            mark="info",
            short=subject.target.label,
            text=f"{subject.target.label}, version {subject.target.version}, {subject.target.url}",
        )
        for subject in subjects
    ]
    cold = [f"{s.target.name} {formatting.significant(s.target.cold_ms)} ms" for s in subjects if s.target.cold_ms]
    if cold:
        text = f"very first prediction after the start, in no table: {', '.join(cold)}"
        facts.append(Fact(key="cold start", mark="info", short=f"cold: {cold[0]}", text=text))
    runtimes = {subject.runtime for subject in subjects}
    if "embedded" in runtimes:
        text = "the embedded compatible server was measured; these are not numbers of TensorFlow Serving"
        facts.append(Fact(key="not TF Serving", mark="warn", short="embedded, not TF Serving", text=text))
    published = "swarm" in runtimes or ("docker" in runtimes and settings.tf_serving.network == "published")
    facts.append(_path_fact(subjects, published))
    facts += [_balance_fact(subject) for subject in subjects if subject.addresses]
    if "swarm" in runtimes:
        text = "Swarm publishes on every address of its machines, not on 127.0.0.1 alone; others may send requests too"
        facts.append(Fact(key="open ports", mark="warn", short="Swarm: ports open to all", text=text))
    if "gunicorn" in runtimes:
        facts.append(_keep_alive_fact(settings.flask.worker_class, all(subject.is_local for subject in subjects)))
    return facts


def _path_fact(subjects: Sequence[Subject], published: bool) -> Fact:
    tunnelled = [subject.target.name for subject in subjects if "SSH tunnel" in subject.target.label]
    if tunnelled:
        text = f"{tunnelled[0]} runs on another machine, behind an SSH tunnel"
        return Fact(key="network path", mark="warn", short="through an SSH tunnel", text=text)
    ways = {subject.target.name: urlsplit(subject.target.url).hostname or "?" for subject in subjects}
    near = [name for name, host in ways.items() if host in LOOPBACK]
    if hosts := sorted(set(ways.values()) - LOOPBACK):
        text = f"over the network to {', '.join(hosts)}" + (f"; loopback to {', '.join(near)}" if near else "")
        return Fact(key="network path", mark="warn", short="over the network", text=text)
    if published:
        text = 'Docker\'s published port costs about 20 % latency against host networking (network = "host")'
        return Fact(key="network path", mark="warn", short="published port: +20 %", text=text)
    return Fact(key="network path", mark="info", short="loopback, no proxy", text="loopback without a proxy")


def _balance_fact(subject: Subject) -> Fact:
    name, number = subject.target.name, len(subject.addresses)
    text = (
        f"the load engine shares its clients among {number} addresses, {', '.join(subject.addresses)}:"
        " each client stays with its own, so fewer clients than addresses leave some idle"
    )
    return Fact(key=f"{name} balancing", mark="info", short=f"{name}: {number} addresses", text=text)


def _keep_alive_fact(worker_class: str, all_known: bool) -> Fact:
    if worker_class == "sync":
        text = (
            "gunicorn's sync worker closes after every response, so Flask pays a connect each time (gthread keeps it)"
        )
        return Fact(key="keep-alive", mark="warn", short="flask reconnects each time", text=text)
    who = "both servers keep" if all_known else "flask keeps"
    return Fact(key="keep-alive", mark="ok", short="connections are kept", text=f"{who} connections open")


def _setting_facts(subjects: Sequence[Subject], settings: Settings, plan: Plan) -> list[Fact]:
    """What holds for the requests, and for our own servers; an external server's settings cannot be seen."""
    timeout = formatting.duration(plan.timeout_s)
    facts = [_form_fact(plan)]
    if not all(subject.is_local for subject in subjects):
        unknown = "threads, batching and oneDNN of an external server are not known here"
        return [
            *facts,
            Fact(key="timeout", mark="info", short=f"timeout {timeout}", text=f"{timeout} in the client"),
            Fact(key="settings", mark="warn", short="external settings unknown", text=unknown),
        ]
    intra, inter = settings.tf_serving.intra_op_threads, settings.tf_serving.inter_op_threads
    threads = f"intra-op {_auto(intra)}, inter-op {_auto(inter)}"
    short = f"TF threads {_auto(intra)} + {_auto(inter)}" if intra or inter else "TF threads default"
    workers = formatting.plural(settings.flask.workers, "Flask worker")
    gunicorn = formatting.duration(settings.flask.timeout_s)
    timeouts = f"{timeout} in the client and in TensorFlow Serving; gunicorn {gunicorn}"
    onednn = f"TF_ENABLE_ONEDNN_OPTS={int(settings.bench.onednn)}"
    return [
        *facts,
        Fact(key="timeout", mark="info", short=f"timeout {timeout}", text=timeouts),
        Fact(key="threads", mark="info", short=short, text=f"{threads} on both; {workers}"),
        _batching_fact(settings.tf_serving.joins_requests),
        Fact(key="oneDNN", mark="info", short=onednn, text=f"{onednn} for both"),
    ]


def _form_fact(plan: Plan) -> Fact:
    """The JSON forms of the plan's ladders; several when they are what is compared."""
    forms = list(dict.fromkeys((ladder.form, ladder.gzip) for ladder in plan.ladders))
    words = {"row": "row (instances)", "column": "column (inputs)"}
    text = "; ".join(f"{words[form]}, {'compressed with gzip' if gzip else 'not compressed'}" for form, gzip in forms)
    short = "JSON in several forms" if len(forms) > 1 else f"JSON {forms[0][0]} form{', gzip' * forms[0][1]}"
    return Fact(key="JSON form", mark="info", short=short, text=text)


def _batching_fact(on: bool) -> Fact:
    if not on:
        return Fact(key="batching", mark="info", short="no server-side batching", text="server-side batching off")
    text = "tf-serving joins requests into batches; flask does not"
    return Fact(key="batching", mark="warn", short="server-side batching on", text=text)


def _machine_facts() -> list[Fact]:
    cores = psutil.cpu_count() or 1
    usable = usable_cores()
    load = os.getloadavg()[0]
    busy = load > cores / 2
    memory = formatting.memory(psutil.virtual_memory().total / 1e6)
    return [
        Fact(
            key="load before",
            mark="warn" if busy else "ok",
            short=f"load average {load:.1f}" + (" – busy" if busy else ""),
            text=f"load average {load:.2f} before the run, {formatting.plural(cores, 'core')}; steal {_steal()}",
        ),
        Fact(
            key="shared cores",
            mark="info",
            short=f"client shares {formatting.plural(usable, 'core')}",
            text=f"client and servers share {usable} of {formatting.plural(cores, 'core')}{_quota()}",
        ),
        Fact(key="machine", mark="info", short=cpu_model(), text=f"{cpu_model()}, {memory} memory"),
        Fact(
            key="software",
            mark="info",
            short=f"Python {platform.python_version()}",
            text=f"Python {platform.python_version()}, {platform.system()} {platform.release()}",
        ),
    ]


def _auto(threads: int) -> str:
    return str(threads) if threads else "default"


def _steal() -> str:
    return formatting.percent(getattr(psutil.cpu_times_percent(), "steal", 0.0))


def _quota() -> str:
    """The cgroup v2 CPU quota in words; empty without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return ""
    return "" if quota == "max" else f", cgroup quota {int(quota) / int(period):.1f} cores"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1


def cpu_model() -> str:
    """The processor's name as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
