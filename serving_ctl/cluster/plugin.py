"""Our agent as a plugin of a Dask worker, which takes it down when it closes. Imported where Dask is, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from serving_ctl.cluster.agent import Agent


class AgentPlugin(WorkerPlugin):  # type: ignore[misc]  # Dask is not typed here
    """Lets a worker answer messages whose operation is ``topic``; what its agent says unasked are events of it."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._agent: Agent | None = None

    def setup(self, worker: Any) -> None:
        """Called by Dask when the plugin is added."""

        def tell(message: Any) -> None:
            worker.log_event(self._topic, message)

        self._agent = Agent(Path(worker.local_directory), tell)
        worker.handlers[self._topic] = self._agent.answer

    async def teardown(self, worker: Any) -> None:
        """Called by Dask when the plugin is removed or the worker closes."""
        worker.handlers.pop(self._topic, None)
        if self._agent is not None:
            await self._agent.close()


async def install(topic: str, dask_worker: Any) -> None:
    """Put the agent of ``topic`` on ``dask_worker``. Raises what went wrong there."""
    await dask_worker.plugin_add(AgentPlugin(topic), name=topic, catch_errors=False)


async def remove(topic: str, dask_worker: Any) -> None:
    """Take it away with all that it keeps; nothing happens where there is none."""
    if topic in dask_worker.plugins:
        await dask_worker.plugin_remove(name=topic)
