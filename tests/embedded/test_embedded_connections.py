"""What happens on a connection: HTTP/1.1 itself, clients that are slow or gone, the end of the server."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop

from serving_ctl.embedded.connection import Limits
from serving_ctl.embedded.exchange import Answer, Request
from serving_ctl.embedded.front import Front

GOOD = b'{"instances": [1.0]}'
HALF = "POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\n"
HEAD = f"{HALF}Content-Length: {len(GOOD)}\r\n".encode()
HARD_CLOSE = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # linger 0: a reset


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(1 << 16):
        data += chunk
    return data


def bodies(data: bytes) -> list[Any]:
    """The JSON bodies of the answers in ``data``, in order."""
    return [json.loads(part.partition(b"\r\n\r\n")[2]) for part in data.split(b"HTTP/1.1 200 OK\r\n")[1:]]


def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    numbers = [float(number) for number in range(50)]
    requests = b""
    for number in numbers:
        body = json.dumps({"instances": [number]}).encode()
        requests += f"{HALF}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with server.connect() as connection:
        connection.sendall(requests)
        connection.shutdown(socket.SHUT_WR)  # says no more, but still listens
        assert bodies(read_all(connection)) == [{"predictions": [number / 2 + 3]} for number in numbers]


def test_a_body_in_chunks(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HALF.encode() + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        for part in (GOOD[:3], GOOD[3:], b""):
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        assert bodies(read_all(connection)) == [{"predictions": [3.5]}]


def test_a_client_that_waits_for_100_continue(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(GOOD)
        assert bodies(read_all(connection)) == [{"predictions": [3.5]}]


def test_another_protocol_is_not_spoken(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n" + GOOD)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(HEAD + b"Connection: close\r\n\r\n" + GOOD)
        assert read_all(connection).count(b"3.5") >= 1


def test_http_1_0_and_head(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\n\r\n" + GOOD)
        answer = read_all(connection)
        assert b"Connection: close" in answer
        assert answer.endswith(b"3.5]\n}")
    head = server.send("HEAD", "/v1/models/half_plus_two")
    assert head.body == b""
    assert int(head.headers["content-length"]) > 0
    assert "date" in head.headers


def test_headers_without_end_are_refused(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HALF.encode() + b"X: " + b"x" * 100_000)
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")


def test_garbage_after_a_request_is_refused_after_its_answer(server: Any) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + GOOD + b"\x00garbage\r\n\r\n")
        answers = read_all(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"400"]


def test_what_follows_a_chunked_body_is_limited_and_means_nothing(server: Any) -> None:
    chunked = HALF.encode() + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n" % (len(GOOD), GOOD)
    with server.connect() as connection:
        connection.sendall(chunked + b"Content-Encoding: gzip\r\n\r\n")
        assert bodies(read_all(connection)) == [{"predictions": [3.5]}]
    with server.connect() as connection:
        connection.sendall(chunked + b"Connection: a\r\n" * 100_000 + b"X: ")
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")


def test_many_pipelined_requests_for_another_protocol(server: Any) -> None:
    upgrade = b"GET /v1/models/half_plus_two HTTP/1.1\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(upgrade * 1500)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == 1500


def test_a_signal_while_an_answer_is_read_ends_the_connection_after_it() -> None:
    """The client keeps its side open: the server does not wait for it to close."""
    answer = Answer(200, b"x" * 20_000_000)

    def client(port: int, stop: Callable[[], None]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(HEAD + b"\r\n" + GOOD)
            assert connection.recv(5) == b"HTTP/"
            stop()
            assert read_all(connection).endswith(b"x")

    served_in_process(client, lambda _: answer, Limits(request_s=30, idle_s=60))


def test_a_chunked_body_that_is_too_large_is_refused_once(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("serving_ctl.embedded.connection._LARGEST_BODY", 1000)

    def client(port: int, _stop: Callable[[], None]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            chunk = b"%x\r\n%b\r\n" % (len(GOOD), GOOD)
            connection.sendall(HALF.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 1000)
            answers = read_all(connection)
            assert answers.startswith(b"HTTP/1.1 413 ")
            assert answers.count(b"HTTP/1.1 ") == 1

    served_in_process(client, lambda _: Answer(200, b"answer"), Limits(request_s=30, idle_s=60))
    assert not caplog.records


@pytest.fixture(scope="module")
def impatient(
    golden: Path, slow_model: Path, embedded_process: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A server with a limit of 0.3 s, CORS and thread settings, which serves a slow model too."""
    folder = tmp_path_factory.mktemp("impatient")
    paths = {"slow": slow_model, "half_plus_two": golden / "half_plus_two"}
    entries = [f'config {{ name: "{name}" base_path: "{path}" }}' for name, path in paths.items()]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    flags = [
        f"--model_config_file={folder / 'models.config'}",
        "--rest_api_timeout_in_ms=300",
        "--rest_api_enable_cors_support",
        "--tensorflow_intra_op_parallelism=1",
        "--tensorflow_inter_op_parallelism=1",
        "--grpc_max_threads=3",
    ]
    running = embedded_process(flags, folder / "log")
    try:
        yield running.ready()
    finally:
        running.stop()
    assert "Traceback" not in running.log


@pytest.mark.parametrize("sent", [b"POST /v1/mod", HEAD, HEAD + b"\r\n" + GOOD[:-1]])
def test_a_request_that_never_gets_complete_is_ended(impatient: Any, sent: bytes) -> None:
    """In the path, in the headers, in the body; who has sent nothing yet may stay."""
    with impatient.connect() as silent, impatient.connect() as connection:
        connection.sendall(sent)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"not complete after 300 ms (rest_api_timeout_in_ms)" in answer
        silent.sendall(HEAD + b"Connection: close\r\n\r\n" + GOOD)
        assert read_all(silent).startswith(b"HTTP/1.1 200 ")


def test_dripping_does_not_win_time(impatient: Any) -> None:
    """The limit is for the whole request: a byte now and then does not start it again."""
    with impatient.connect() as connection:
        for byte in HALF + "X: " + "x" * 10_000:
            connection.sendall(byte.encode())
            if select.select([connection], [], [], 0.02)[0]:
                break
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_prediction_that_takes_too_long_is_a_504(impatient: Any) -> None:
    assert json.loads(impatient.predict("slow", '{"instances": [7]}').body) == {"predictions": [7]}
    reply = impatient.predict("slow", '{"instances": [2000000000]}')
    assert reply.status == 504
    assert "error" in json.loads(reply.body)
    assert impatient.predict("half_plus_two", GOOD).status == 200


def test_cors(impatient: Any, server: Any) -> None:
    replies = [
        impatient.predict("half_plus_two", GOOD),
        impatient.predict("half_plus_two", b"{}"),
        impatient.send("OPTIONS", "/v1/models/half_plus_two:predict"),
    ]
    assert [reply.status for reply in replies] == [200, 400, 200]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-allow-methods"] == "POST, GET"
        assert reply.headers["access-control-allow-headers"] == "Content-Type"
    assert "access-control-allow-origin" not in server.predict("half_plus_two", GOOD).headers


def test_a_flag_without_a_meaning_is_named_in_the_log(impatient: Any) -> None:
    assert "W serving_ctl/embedded/__main__.py" in impatient.log
    assert "--grpc_max_threads means nothing to the embedded (TF-Serving-compatible) server" in impatient.log


def served_in_process(
    client: Callable[[int, Callable[[], None]], None], work: Callable[[Request], Answer], limits: Limits
) -> None:
    """Run ``client`` with the port of a front that answers by ``work``, and with what a signal calls."""

    async def serve() -> None:
        with ThreadPoolExecutor(2) as threads:
            front = Front(work, threads, limits=limits)
            ready = asyncio.Event()
            listener = socket.create_server(("127.0.0.1", 0))
            serving = asyncio.create_task(front.serve(listener, ready.set))
            await ready.wait()
            try:
                loop = asyncio.get_running_loop()
                port = listener.getsockname()[1]
                await asyncio.to_thread(client, port, lambda: loop.call_soon_threadsafe(front.stop))
            finally:
                front.stop()
                await serving

    uvloop.run(serve())


def test_an_idle_connection_is_closed() -> None:
    def client(port: int, _stop: Callable[[], None]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(HEAD + b"\r\n" + GOOD)
            assert read_all(connection).endswith(b"answer")

    served_in_process(client, lambda _: Answer(200, b"answer"), Limits(request_s=0.1, idle_s=0.1))


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """It gets a part of its answer, not the whole: the server does not keep the rest for ever."""
    answer = Answer(200, b"x" * 100_000_000)

    def client(port: int, _stop: Callable[[], None]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(HEAD + b"\r\n" + GOOD)
            poller = select.poll()
            poller.register(connection, select.POLLHUP | select.POLLERR)
            assert poller.poll(30_000), "still connected"

    served_in_process(client, lambda _: answer, Limits(request_s=0.1, idle_s=0.2))


def test_status_polls_do_not_make_slow_predictions_look_quick() -> None:
    """A slow prediction in the event loop would hold up every other client; the first one tells that they are slow."""
    in_loop: list[bool] = []

    def work(request: Request) -> Answer:
        if request.method == "POST":
            in_loop.append(threading.current_thread() is threading.main_thread())
            time.sleep(0.05)
        return Answer(200, b"answer")

    def client(port: int, _stop: Callable[[], None]) -> None:
        prediction, poll = HEAD + b"\r\n" + GOOD, b"GET /v1/models/half_plus_two HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for request in (prediction, prediction, *[poll] * 100, prediction):
                connection.sendall(request)
                while not connection.recv(1000).endswith(b"answer"):
                    continue

    served_in_process(client, work, Limits(request_s=30, idle_s=60))
    assert in_loop == [True, False, False]


def begin_slow_request(server: Any, steps: int) -> socket.socket:
    """A prediction that runs for about ``steps`` µs; the server has read its head, and its body is on the way."""
    body = json.dumps({"instances": [steps]}).encode()
    connection: socket.socket = server.connect()
    head = f"POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert connection.recv(100).startswith(b"HTTP/1.1 100")
    connection.sendall(body)
    return connection


@pytest.fixture
def slow(start: Callable[..., Any], slow_model: Path) -> Any:
    return start("--model_name=slow", f"--model_base_path={slow_model}").ready()


def test_a_client_gone_during_its_prediction_and_a_signal_during_anothers(slow: Any) -> None:
    """SIGTERM: what runs is finished and answered, silent connections are closed, then exit 0."""
    gone = begin_slow_request(slow, 100_000)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HARD_CLOSE)
    gone.close()
    assert slow.predict("slow", '{"instances": [3]}').status == 200
    silent = slow.connect()
    running = begin_slow_request(slow, 100_000)
    os.kill(slow.process.pid, signal.SIGTERM)
    answers: list[bytes] = []
    reader = threading.Thread(target=lambda: answers.append(read_all(running)))
    reader.start()
    assert read_all(silent) == b""
    reader.join(60)
    assert bodies(answers[0]) == [{"predictions": [100_000]}]
    assert slow.process.wait(60) == 0
    assert "Traceback" not in slow.log
    for connection in (silent, running):
        connection.close()


def test_a_second_signal_ends_what_is_not_begun(start: Callable[..., Any], slow_model: Path) -> None:
    """One thread and twenty requests of some seconds each: only the one it works on is waited for."""
    flags = ["--model_name=slow", f"--model_base_path={slow_model}", "--rest_api_num_threads=1"]
    server = start(*flags).ready()
    assert server.predict("slow", '{"instances": [100000]}').status == 200  # from now on not in the event loop
    waiting = [begin_slow_request(server, 1_000_000) for _ in range(20)]
    os.kill(server.process.pid, signal.SIGTERM)

    def refuses() -> bool:
        try:
            server.connect().close()
        except ConnectionError:
            return True
        return False

    server.wait_for(refuses, "no new connections")
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(30) == 0
    for connection in waiting:
        connection.close()


def test_two_servers_on_one_folder(start: Callable[..., Any], golden: Path) -> None:
    flags = ["--model_name=half_plus_two", f"--model_base_path={golden / 'half_plus_two'}"]
    servers = [start(*flags), start(*flags)]
    for server in servers:
        server.ready()
    for server in servers:
        assert json.loads(server.predict("half_plus_two", GOOD).body) == {"predictions": [3.5]}
