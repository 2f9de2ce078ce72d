"""The fairness card: under which conditions two servers were measured, as facts with a mark (rule R23)."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from serving_ctl import formatting
from serving_ctl.bench.parity import Parity
from serving_ctl.bench.plan import Plan
from serving_ctl.config import Settings
from serving_ctl.events import Fact, Target


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One measured server: its target, the runtime's key, and whether it serves our own model folder."""

    target: Target
    runtime: str

    @property
    def is_local(self) -> bool:
        """False for a server somebody else runs, whose model and settings we cannot see."""
        return self.runtime != "external"


def fairness_facts(
    subjects: Sequence[Subject], settings: Settings, plan: Plan, parity: Parity, model_hash: str
) -> tuple[Fact, ...]:
    """All facts of the card; those that need attention first."""
    facts = [
        _parity_fact(parity),
        _model_fact(subjects, model_hash),
        *_runtime_facts(subjects, settings),
        *_setting_facts(subjects, settings, plan),
        *_machine_facts(),
    ]
    order = {"warn": 0, "ok": 1, "info": 2}
    return tuple(sorted(facts, key=lambda fact: order[fact.mark]))


def model_digest(version_folder: Path) -> str:
    """SHA-256 over the graph and the variables of one SavedModel version, first 12 hex digits; "?" when unreadable."""
    digest = hashlib.sha256()
    try:
        files = [version_folder / "saved_model.pb", *sorted((version_folder / "variables").glob("*"))]
        for path in files:
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    except OSError:
        return "?"
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
    if all(subject.is_local for subject in subjects):
        short = f"same model {model_hash[:4]}…{model_hash[-2:]}"
        return Fact(key="model", mark="ok", short=short, text=f"the same files for both, SHA-256 {model_hash}…")
    return Fact(
        key="model",
        mark="warn",
        short="external model not seen",
        text="an external server's model files cannot be compared",
    )


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
    runtimes = {subject.runtime for subject in subjects}
    if "embedded" in runtimes:
        text = "the embedded compatible server was measured; these are not numbers of TensorFlow Serving"
        facts.append(Fact(key="not TF Serving", mark="warn", short="embedded, not TF Serving", text=text))
    if "docker" in runtimes and settings.tf_serving.network == "published":
        text = 'Docker\'s published port costs about 20 % latency against host networking (network = "host")'
        facts.append(Fact(key="network path", mark="warn", short="published port: +20 %", text=text))
    else:
        facts.append(Fact(key="network path", mark="info", short="loopback, no proxy", text="loopback without a proxy"))
    if "gunicorn" in runtimes and settings.flask.worker_class == "sync":
        text = (
            "gunicorn's sync worker closes after every response, so Flask pays a connect each time (gthread keeps it)"
        )
        facts.append(Fact(key="keep-alive", mark="warn", short="flask reconnects each time", text=text))
    return facts


def _setting_facts(subjects: Sequence[Subject], settings: Settings, plan: Plan) -> list[Fact]:
    intra, inter = _auto(settings.tf_serving.intra_op_threads), _auto(settings.tf_serving.inter_op_threads)
    threads = f"intra-op {intra}, inter-op {inter}"
    workers = settings.flask.workers
    bodies = "instances" if plan.form == "row" else "inputs"
    onednn = f"TF_ENABLE_ONEDNN_OPTS={int(settings.bench.onednn)}"
    facts = [
        Fact(
            key="threads",
            mark="info",
            short=f"TF threads {threads}",
            text=f"{threads} on both; {workers} Flask workers",
        ),
        Fact(
            key="JSON form", mark="info", short=f"JSON {plan.form} form", text=f"{plan.form} ({bodies}), not compressed"
        ),
        Fact(key="batching", mark="info", short="no server-side batching", text="server-side batching off"),
        Fact(
            key="timeout",
            mark="info",
            short=f"timeout {formatting.duration(plan.timeout_s)}",
            text=f"{formatting.duration(plan.timeout_s)} in the client and in TensorFlow Serving; gunicorn "
            f"{formatting.duration(settings.flask.timeout_s)}",
        ),
    ]
    if all(subject.is_local for subject in subjects):
        facts.append(Fact(key="oneDNN", mark="info", short=onednn, text=f"{onednn} for both"))
    return facts


def _machine_facts() -> list[Fact]:
    cores = psutil.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
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
        Fact(key="machine", mark="info", short=_cpu_model(), text=f"{_cpu_model()}, {memory} memory"),
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


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
