"""The HTTP parser takes what clients send, however it is cut, and refuses the rest."""

import pytest

from workers.simulator.wire import BODY_BYTES_MAX, BadRequest, RequestReader

PLAIN = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;note=1\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("data", [PLAIN, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_request_arrives_in_any_cut(data: bytes, size: int):
    reader = RequestReader()
    requests = []

    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        requests.append(reader.next_request())

    assert [request.body for request in requests if request] == [b"hello"]
    assert requests[-1] is not None


def test_pipelined_requests_come_out_one_by_one():
    reader = RequestReader()
    reader.feed(PLAIN + CHUNKED + PLAIN)

    bodies = [request.body for _ in range(3) if (request := reader.next_request())]

    assert bodies == [b"hello"] * 3
    assert reader.next_request() is None


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        pytest.param(b"GET / HTTP/1.1", True, id="1.1 keeps alive"),
        pytest.param(b"GET / HTTP/1.1\r\nConnection: close", False, id="unless told not to"),
        pytest.param(b"GET / HTTP/1.0", False, id="1.0 closes"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive", True, id="unless asked"),
    ],
)
def test_keep_alive(head: bytes, keeps: bool):
    reader = RequestReader()
    reader.feed(head + b"\r\n\r\n")

    request = reader.next_request()

    assert request is not None
    assert request.keep_alive is keeps


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET / HTTP/1.1\r\nbad\r\n\r\n", 400, id="header without colon"),
        pytest.param(b"GET / HTTP/1.1\r\nbad : x\r\n\r\n", 400, id="space before colon"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(
            b"GET / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1),
            413,
            id="body too large",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, id="coding"),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="chunk size"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400, id="chunk end"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431, id="endless header"),
    ],
)
def test_refuses(data: bytes, status: int):
    reader = RequestReader()
    reader.feed(data)

    with pytest.raises(BadRequest) as refused:
        reader.next_request()

    assert refused.value.status == status
