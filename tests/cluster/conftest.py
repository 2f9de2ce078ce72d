"""One scheduler with two workers for the session; and what Dask leaves behind in a test's process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_places import Cluster, CountingServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder share a cluster: they run in one worker of pytest-xdist."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers that no test ends."""
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        cluster.add()
        cluster.add()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def own_dask(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler of the test's own; it adds the workers, and may end what it likes."""
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """A server on 127.0.0.1."""
    counting = CountingServer()
    yield counting
    counting.close()
