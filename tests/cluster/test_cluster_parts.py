"""What needs no cluster: addresses, clocks, exact merging, the manifest, and that Dask is imported late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.cluster.address import Host, LocalProcesses, Scheduler, SshHosts, parse_address
from serving_ctl.cluster.clocks import Reading, offset_of, skew_ns
from serving_ctl.errors import ConfigError
from serving_ctl.load.merge import combine_results
from serving_ctl.load.pool import split
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule
from serving_ctl.stats.latency import count

ROOT = Path(__file__).parents[2]
HOUR = 3_600_000_000_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://10.0.0.1:8786", Scheduler("tcp://10.0.0.1:8786")),
        ("tls://dask.example.org:8786", Scheduler("tls://dask.example.org:8786")),
        ("tcp://[::1]:8786", Scheduler("tcp://[::1]:8786")),
        ("local:3", LocalProcesses(3)),
        ("ssh:a,me@b:2222", SshHosts((Host(name="a"), Host(name="b", user="me", port=2222)))),
    ],
)
def test_an_address_says_where_the_load_comes_from(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1:8786", "tcp://host", "http://h:1", "local:0", "local:x", "ssh:", "ssh:a,,b"]
)
def test_an_address_that_cannot_be_is_a_usage_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster .*(write|local:N)"):
        parse_address(text)


def reading(round_trip: int, *, ahead: int, wall_ahead: int, path: float = 0.5) -> Reading:
    """A reading at 1,000 of our clock; ``path`` is the way there as a share of the round trip."""
    there = 1_000 + int(round_trip * path)
    return Reading(
        asked=1_000,
        answered=1_000 + round_trip,
        wall_asked=5 * HOUR,
        monotonic=there + ahead,
        wall=5 * HOUR + int(round_trip * path) + wall_ahead,
    )


@given(path=st.floats(0, 1), ahead=st.integers(-HOUR, HOUR), slow=st.integers(0, HOUR))
def test_an_offset_is_right_within_its_error_however_lopsided_the_way(path: float, ahead: int, slow: int) -> None:
    quick = reading(800, ahead=ahead, wall_ahead=3 * HOUR, path=path)
    offset = offset_of([reading(801 + slow, ahead=ahead, wall_ahead=3 * HOUR, path=1.0), quick])
    assert abs(offset.monotonic - ahead) <= offset.error + 1
    assert abs(offset.wall - 3 * HOUR) <= offset.error + 1
    assert offset.error == 400


def test_skew_is_what_starts_differ_by_not_what_clocks_do() -> None:
    assert skew_ns([100, 5 * HOUR], [107, 5 * HOUR + 2]) == 5
    assert skew_ns([100, 200], [107, None]) is None


@given(
    samples=st.lists(st.floats(1.0, 119e6), min_size=1, max_size=200),
    workers=st.integers(1, 7),
    data=st.data(),
)
def test_the_merged_histogram_is_that_of_the_raw_samples(
    samples: list[float], workers: int, data: st.DataObject
) -> None:
    owner = np.array(data.draw(st.lists(st.integers(0, workers - 1), min_size=len(samples), max_size=len(samples))))
    raw = np.array(samples)
    results = [result(raw[owner == i]) for i in range(workers)]
    shipped = [msgspec.json.decode(msgspec.json.encode(one), type=LoadResult) for one in results]
    merged, whole = combine_results(shipped).request, count(raw)
    assert (merged.index, merged.count) == (whole.index, whole.count)
    assert (merged.min_us, merged.max_us) == (whole.min_us, whole.max_us)


def result(microseconds: Any) -> LoadResult:
    counts = count(microseconds)
    return LoadResult(
        requests=counts.n,
        errors={},
        duration_s=1.0,
        throughput_rps=counts.n,
        request=counts,
        service=counts,
        connect=counts,
    )


@given(st.integers(1, 20), st.integers(0, 50), st.integers(1, 10_000), st.floats(0.1, 1e6))
def test_shares_are_the_whole(workers: int, more: int, requests: int, rate: float) -> None:
    spec = LoadSpec(url="http://h/", clients=workers + more, rate_rps=rate, stop=StopRule(requests=requests))
    shares = split(spec, workers)
    assert sum(share.clients for share in shares) == spec.clients
    assert sum(share.stop.requests for share in shares) == requests
    assert sum(share.rate_rps or 0.0 for share in shares) == pytest.approx(rate)
    assert len({(share.seed, share.first_body) for share in shares}) == workers


def test_dask_is_imported_late_and_its_absence_is_one_sentence() -> None:
    script = """
import sys
from serving_ctl.cluster import open_cluster
assert not {"dask", "distributed", "asyncssh", "tornado"} & set(sys.modules)
sys.modules["distributed"] = None
from serving_ctl.cli import main
sys.exit(main(["load", "http://127.0.0.1:9/", "--cluster", "tcp://127.0.0.1:9"]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == "--cluster needs tfserve-tui[cluster]: pip install 'tfserve-tui[cluster]'\n"


class Container(msgspec.Struct, forbid_unknown_fields=True):
    """A container of a pod, as far as the manifest may use it."""

    name: str
    image: str
    args: list[str]
    imagePullPolicy: str = "IfNotPresent"  # noqa: N815 - Kubernetes' names
    env: list[dict[str, str]] = []
    ports: list[dict[str, Any]] = []
    resources: dict[str, dict[str, str]] = {}
    readinessProbe: dict[str, Any] = {}  # noqa: N815
    livenessProbe: dict[str, Any] = {}  # noqa: N815


class Pod(msgspec.Struct, forbid_unknown_fields=True):
    """A pod's spec."""

    containers: list[Container]


class ServicePort(msgspec.Struct, forbid_unknown_fields=True):
    """A port of a service."""

    name: str
    protocol: str
    port: int
    targetPort: str  # noqa: N815


class Service(msgspec.Struct, forbid_unknown_fields=True):
    """The scheduler's service."""

    type: str
    selector: dict[str, str]
    ports: list[ServicePort]


class Worker(msgspec.Struct, forbid_unknown_fields=True):
    """spec.worker of the DaskCluster resource."""

    replicas: int
    spec: Pod


class SchedulerSpec(msgspec.Struct, forbid_unknown_fields=True):
    """spec.scheduler."""

    spec: Pod
    service: Service


class ClusterSpec(msgspec.Struct, forbid_unknown_fields=True):
    """spec."""

    worker: Worker
    scheduler: SchedulerSpec


class DaskCluster(msgspec.Struct, forbid_unknown_fields=True):
    """The resource, by the fields that dask-kubernetes documents (kubernetes.dask.org, operator_resources)."""

    apiVersion: str  # noqa: N815
    kind: str
    metadata: dict[str, str]
    spec: ClusterSpec


def test_the_manifest_is_a_dask_cluster() -> None:
    manifest = yaml.safe_load((ROOT / "docs" / "dask-cluster.yaml").read_text(encoding="utf-8"))
    cluster = msgspec.convert(manifest, DaskCluster)
    assert (cluster.apiVersion, cluster.kind) == ("kubernetes.dask.org/v1", "DaskCluster")
    service = cluster.spec.scheduler.service
    assert service.selector == {
        "dask.org/cluster-name": cluster.metadata["name"],
        "dask.org/component": "scheduler",
    }
    worker, scheduler = cluster.spec.worker.spec.containers[0], cluster.spec.scheduler.spec.containers[0]
    assert worker.image == scheduler.image
    assert {port.targetPort for port in service.ports} == {port["name"] for port in scheduler.ports}
    assert "$(DASK_WORKER_NAME)" in worker.args
