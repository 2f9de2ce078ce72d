import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_ctl.load import answer
from serving_ctl.load.answer import Answer, BadAnswer, HeadMemory, judge, server_timing


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def chunked(body: bytes, sizes: list[int]) -> bytes:
    out = b""
    for part in pieces(body, sizes):
        out += b"%x\r\n%b\r\n" % (len(part), part)
    return out + b"0\r\n\r\n"


cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 2), cuts, cuts)
def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut(
    body: bytes, in_chunks: bool, interim: int, sizes: list[int], where: list[int]
) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\n" * interim + b"HTTP/1.1 200 OK\r\nServer-Timing: infer;dur=1.5\r\n"
    if in_chunks:
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, sizes)
    else:
        data = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    read = Answer(HeadMemory("POST"), keep=1000)
    complete = [read.feed(piece) for piece in pieces(data, where)]
    assert complete == [False] * (len(complete) - 1) + [True]
    assert read.body == body
    assert read.head is not None
    assert read.head.timings == (("infer", 1.5),)


@given(st.binary(min_size=1, max_size=400), cuts)
def test_random_bytes_are_a_bad_answer(data: bytes, where: list[int]) -> None:
    """A byte that no status line begins with is put first, so that chance cannot make a good answer of them."""
    read = Answer(HeadMemory("POST"))
    with pytest.raises(BadAnswer, match=r"not an HTTP answer|connection closed inside the head"):
        read_all(read, pieces(b"\x00" + data, where))


def read_all(read: Answer, data: list[bytes]) -> None:
    for piece in data:
        assert not read.feed(piece)
    read.end()


@given(st.data())
def test_a_damaged_answer_is_never_anything_but_an_answer_or_a_bad_one(data: st.DataObject) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + data.draw(st.binary(max_size=3)) + good[at + 1 :]
    read = Answer(HeadMemory("POST"))
    done = False
    try:
        for piece in pieces(damaged, data.draw(cuts)):
            done = read.feed(piece) or done
    except BadAnswer:
        done = True
    assert done in (True, False)
    assert read.head is None or 100 <= read.head.status <= 999


def test_a_repeated_plain_head_is_recognised_with_its_size() -> None:
    memory = HeadMemory("POST")
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert Answer(memory).feed(data)
    assert (memory.size, memory.latest) == (len(data), data[:-5])


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer-Timing: worker;desc=7\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_an_answer_that_needs_a_look_is_never_recognised_unread(head: bytes) -> None:
    memory = HeadMemory("POST")
    assert Answer(memory).feed(head + b"hello")
    assert memory.size == -1


def test_no_answer_is_recognised_unread_while_bodies_are_wanted() -> None:
    memory = HeadMemory("POST")
    memory.recognise(False)
    assert Answer(memory).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert memory.size == -1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", "1 bytes more"),
        (b"HTTP/1.1 101 Up\r\nUpgrade: ws\r\nConnection: upgrade\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broken chunks"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200", "after the last chunk"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "the limit is"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * answer.MAX_HEAD, "a head of more than"),
    ],
)
def test_what_is_no_answer_is_said_to_be_bad(data: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        Answer(HeadMemory("POST")).feed(data)


def test_a_body_without_an_end_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MAX_BODY", 1000)
    read = Answer(HeadMemory("POST"))
    assert not read.feed(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000)
    with pytest.raises(BadAnswer, match="more than 1000"):
        read.feed(b"x")


def test_the_close_ends_a_body_without_length_and_cuts_any_other() -> None:
    unbounded = Answer(HeadMemory("POST"))
    assert not unbounded.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert unbounded.end()
    for data in (
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ):
        cut = Answer(HeadMemory("POST"))
        assert not cut.feed(data)
        with pytest.raises(BadAnswer, match="connection closed"):
            cut.end()


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    assert Answer(HeadMemory("POST")).feed(b"HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\n" % status)


def test_an_answer_to_head_has_no_body() -> None:
    assert Answer(HeadMemory("HEAD")).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")


def test_an_error_keeps_a_snippet_of_its_body() -> None:
    read = Answer(HeadMemory("POST"))
    assert read.feed(b"HTTP/1.1 400 Bad\r\nContent-Length: 1000\r\n\r\n" + b"e" * 1000)
    assert read.body == b"e" * answer.SNIPPET


def test_server_timing_is_read_and_nonsense_left_out() -> None:
    assert server_timing(b'decode;dur=0.25, infer;desc="x, y";dur=12 , worker;desc=42, cache, odd;dur=nan') == (
        (("decode", 0.25), ("infer", 12.0)),
        "42",
    )


def test_keep_alive_is_what_the_head_says() -> None:
    assert judge(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive
    assert not judge(b"HTTP/1.1 200 OK\r\n\r\n").keep_alive
