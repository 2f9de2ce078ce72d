"""``ssh:HOST,…`` through Dask's SSHCluster, against a real SSH server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
from dask_places import CountingServer

from serving_ctl.cluster import open_cluster
from serving_ctl.errors import ClusterError
from serving_ctl.load.work import LoadResult, LoadSpec, StopRule


async def passed_on(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[str]) -> None:
    """Copy all that comes."""
    while data := await source.read(1 << 16):
        sink.write(data.decode())


async def run_command(process: asyncssh.SSHServerProcess[str]) -> None:
    """Run what a client asks for as sshd does, until it ends or the client goes."""
    assert process.command is not None
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", f"exec {process.command}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        await asyncio.gather(passed_on(child.stdout, process.stdout), passed_on(child.stderr, process.stderr))
        process.exit(await child.wait())
    finally:
        # Its children hold its pipes: with all of them gone the pipes end, and are closed by reading to that end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.communicate()


@contextlib.asynccontextmanager
async def ssh_server(home: Path) -> AsyncIterator[int]:
    """The port of a server that lets in the key in ``home``/.ssh, and that this home's ssh knows."""
    folder = home / ".ssh"
    folder.mkdir()
    own, host = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    own.write_private_key(folder / "id_ed25519")
    own.write_public_key(folder / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host],
        authorized_client_keys=str(folder / "authorized"),
        process_factory=run_command,
    )
    port = server.get_port()
    public = host.export_public_key().decode()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    try:
        yield port
    finally:
        server.close()
        await server.wait_closed()


def test_hosts_are_logged_in_to(server: CountingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    async def work() -> LoadResult:
        async with ssh_server(tmp_path) as port:
            async with open_cluster(f"ssh:127.0.0.1:{port}") as load:
                result = await load.run(LoadSpec(url=server.url, stop=StopRule(requests=20, max_seconds=None)))
            (tmp_path / ".ssh" / "known_hosts").write_text("")
            with pytest.raises(ClusterError, match="cluster could not be started: Host key is not trusted"):
                async with open_cluster(f"ssh:127.0.0.1:{port}"):
                    pytest.fail("an unknown host was trusted")
            return result

    result = asyncio.run(work())
    assert result.requests == server.count == 20
    assert result.origin is not None
    assert result.origin.workers == 1
