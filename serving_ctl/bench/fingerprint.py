"""What must be the same for two runs to be compared: machine, runtimes, versions, settings, as words by key (R24).

Only what shifts a result stands here; what changes from run to run (load before, cold start) is on the fairness card.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

import psutil

from serving_ctl import formatting
from serving_ctl.bench.fairness import Subject, cpu_model, usable_cores
from serving_ctl.bench.plan import Plan
from serving_ctl.config import Settings, TfServingSettings


def fingerprint(subjects: Sequence[Subject], settings: Settings, plan: Plan, model_hash: str) -> dict[str, str]:
    """The fingerprint of a run; an external server's settings are not known and left out."""
    return {
        "CPU": cpu_model(),
        "cores": formatting.count(psutil.cpu_count() or 1),
        "usable cores": formatting.count(usable_cores()),
        "memory": formatting.memory(psutil.virtual_memory().total / 1e6),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "model files": model_hash,
        "timeout": formatting.duration(plan.timeout_s),
        "bodies": formatting.count(plan.distinct_bodies),
        "cell": f"{formatting.duration(plan.min_seconds)}, {formatting.plural(plan.min_requests, 'request')}",
        **{f"{subject.target.name} runtime": subject.runtime for subject in subjects},
        **(_server_settings(subjects, settings) if any(subject.is_local for subject in subjects) else {}),
    }


def _server_settings(subjects: Sequence[Subject], settings: Settings) -> dict[str, str]:
    serving, flask = settings.tf_serving, settings.flask
    runtimes = {subject.runtime for subject in subjects}
    return {
        "oneDNN": _switch(settings.bench.onednn),
        "intra-op threads": _threads(serving.intra_op_threads),
        "inter-op threads": _threads(serving.inter_op_threads),
        "REST threads": _threads(serving.rest_threads),
        "server-side batching": _switch(serving.joins_requests),
        **{f"flag {name}": str(value) for name, value in serving.flags.items()},
        **(_container(serving) if "docker" in runtimes else {}),
        **{f"{one.target.name} service": one.target.label for one in subjects if one.runtime == "swarm"},
        **({"gunicorn": f"{flask.workers} × {flask.worker_class} × {flask.threads}"} if "gunicorn" in runtimes else {}),
    }


def _container(serving: TfServingSettings) -> dict[str, str]:
    return {
        "docker network": serving.network,
        "image": serving.image,
        "container memory": serving.memory or "no limit",
        "container cores": serving.cpuset or "all",
    }


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _threads(number: int) -> str:
    return formatting.count(number) if number else "default"
