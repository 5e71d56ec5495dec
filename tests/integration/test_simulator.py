"""The simulator as a process: what a client sees on the socket, and what it is told afterwards."""

import contextlib
import gzip
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

HOST = "127.0.0.1"
KEY = {"authorization": "Bearer test"}
PATIENCE_S = 5.0


def start() -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.simulator", "--host", HOST, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        line = output.readline()
    return process, int(line.rpartition(":")[2])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    process, port = start()
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{HOST}:{port}", headers=KEY, timeout=PATIENCE_S) as client:
        client.delete("/control/faults")
        client.delete("/control/knobs")
        yield client


def ask(*, stream: bool = False, said: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "model": "sim-plain",
        "stream": stream,
        "messages": [{"role": "user", "content": said}],
        **more,
    }


def chat(fault: str | None = None, provider: str = "openai") -> str:
    return f"/p/{provider}{f'/f/{fault}' if fault else ''}/v1/chat/completions"


def marker() -> str:
    return f"marker-{uuid4()}"


def raw_request(path: str, body: dict[str, Any]) -> bytes:
    data = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, port), timeout=PATIENCE_S) as sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65_536):
        data += part
    return data


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        part = sock.recv(65_536)
        assert part, data
        data += part
    return data


def collect(parts: Iterator[bytes], into: bytearray) -> None:
    for part in parts:
        into += part


def record(client: httpx.Client, wanted: str, done: Callable[[dict[str, Any]], bool]) -> Any:
    """Return the record of a call once it is as wanted; closing takes a moment to be seen."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        calls = client.get("/control/calls", params={"marker": wanted}).json()["calls"]
        if calls and done(calls[-1]):
            return calls[-1]
        assert time.monotonic() < deadline, calls


def ended(call: dict[str, Any]) -> bool:
    return call["outcome"] != "open"


def test_it_is_alive_and_says_so(client: httpx.Client):
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/nothing").status_code == 404
    assert client.get("/p/openai/v1/models").json()["object"] == "list"


def test_plain_answers_are_the_same_for_the_same_body(client: httpx.Client):
    one, two = (client.post(chat(), json=ask()).json() for _ in range(2))

    assert one["choices"] == two["choices"]
    assert one["usage"] == two["usage"]
    assert one["id"] != two["id"]


def test_stream_ends_with_done(client: httpx.Client):
    response = client.post(chat(), json=ask(stream=True))

    lines = [line for line in response.text.split("\n\n") if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(orjson.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_default_stream_comes_bit_by_bit(client: httpx.Client):
    times = []
    with client.stream("POST", chat(), json=ask(stream=True, model="gpt-4o")) as response:
        times.extend(time.monotonic() for _ in response.iter_raw())

    assert len(times) > 5
    assert times[-1] - times[0] > 0.05


def test_tools_are_called(client: httpx.Client):
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"city": {"type": "string"}}}},
    }

    body = client.post(chat(), json=ask(tools=[tool], tool_choice="required")).json()

    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert orjson.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_pipelined_and_chunked_requests_are_answered_in_order(port: int):
    bodies = [ask(said="first"), ask(said="second", stream=True), ask(said="third")]
    with connected(port) as sock:
        sock.sendall(b"".join(raw_request(chat(), body) for body in bodies))
        chunked = orjson.dumps(ask(said="fourth"))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\n"
        frame = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        sock.sendall(head + frame % (len(chunked), chunked))
        data = read_all(sock)

    places = [data.index(word) for word in (b"first", b"[DONE]", b"third", b"fourth")]
    assert places == sorted(places)
    assert data.count(b"HTTP/1.1 200 OK") == 4


def test_expect_continue(port: int):
    request = raw_request(chat(), ask())
    head, _, body = request.partition(b"\r\n\r\n")
    with connected(port) as sock:
        sock.sendall(head + b"\r\nexpect: 100-continue\r\n\r\n")
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_until(sock, b"}}").startswith(b"HTTP/1.1 200")


def test_nonsense_is_refused_and_the_connection_closed(port: int):
    with connected(port) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("429", 429),
        ("503", 503),
        ("401", 401),
        ("402", 402),
        ("403", 403),
        ("context_400", 400),
        ("content_filter_400", 400),
        ("redirect", 302),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_refusals(client: httpx.Client, fault: str, status: int, stream: bool):
    response = client.post(chat(fault), json=ask(stream=stream))

    assert response.status_code == status


def test_retry_after_html_and_empty(client: httpx.Client):
    limited, page, empty = (
        client.post(chat(fault), json=ask())
        for fault in ("429_retry_after:9", "html_200", "empty_200")
    )

    assert limited.headers["retry-after"] == "9"
    assert page.headers["content-type"].startswith("text/html")
    assert empty.content == b""


def test_reset_and_silence(port: int, client: httpx.Client):
    with pytest.raises(httpx.ReadError):
        client.post(chat("reset"), json=ask())
    with connected(port) as sock:
        sock.sendall(raw_request(chat("silence"), ask()))
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut_after:3", httpx.RemoteProtocolError),
        ("rst_after:3", httpx.ReadError),
        ("stall_after:3", httpx.ReadTimeout),
        ("wrong_length", httpx.RemoteProtocolError),
    ],
)
def test_broken_bodies(client: httpx.Client, fault: str, error: type[Exception], stream: bool):
    seen = bytearray()
    wanted = marker()
    body = ask(stream=stream, said=wanted)
    with client.stream("POST", chat(fault), json=body, timeout=0.3) as response:
        parts = response.iter_raw()
        with pytest.raises(error):
            collect(parts, seen)

    call = record(client, wanted, ended)
    assert seen
    assert call["fault"] == fault
    assert call["outcome"] == ("closed_by_client" if "stall" in fault else "faulted")
    if stream and "after" in fault:
        assert (call["chunks_sent"], seen.count(b"data: ")) == (3, 3)


def test_slow_first_sends_the_headers_at_once(client: httpx.Client):
    begun = time.monotonic()
    with client.stream("POST", chat("slow_first:200"), json=ask(stream=True)) as response:
        headers_s = time.monotonic() - begun
        response.read()

    assert headers_s < 0.15
    assert time.monotonic() - begun > 0.2


def test_late_close_keeps_the_connection_after_done(port: int):
    with connected(port) as sock:
        sock.sendall(raw_request(chat("late_close:200"), ask(stream=True)))
        assert not read_until(sock, b"[DONE]").endswith(b"\r\n0\r\n\r\n")
        begun = time.monotonic()
        read_until(sock, b"0\r\n\r\n")
    assert time.monotonic() - begun > 0.1


def test_odd_but_right_streams(client: httpx.Client):
    usual = client.post(chat(), json=ask(stream=True)).text

    for fault in ("gzip", "crlf", "comments", "bom", "no_space", "split_utf8"):
        text = client.post(chat(fault), json=ask(stream=True)).text
        assert "[DONE]" in text, fault
        assert "🚂" in text, fault
        assert text.count('"delta"') >= usual.count('"delta"'), fault


def test_split_utf8_arrives_in_broken_halves(client: httpx.Client):
    halves = 0
    with client.stream("POST", chat("split_utf8"), json=ask(stream=True)) as response:
        for part in response.iter_raw():
            try:
                part.decode()
            except UnicodeDecodeError:
                halves += 1

    assert halves >= 2


def test_gzip_is_really_packed(port: int):
    with connected(port) as sock:
        sock.sendall(raw_request(chat("gzip"), ask()))
        head, _, body = read_until(sock, b"\r\n\r\n\x1f\x8b").partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += sock.recv(65_536)

    assert orjson.loads(gzip.decompress(body))["object"] == "chat.completion"


def test_huge_event(client: httpx.Client):
    body = client.post(chat("huge_event:5"), json=ask(stream=True)).content

    assert max(len(line) for line in body.split(b"\n")) > 5 * 1024 * 1024


def test_500_once_per_provider_and_model(client: httpx.Client):
    path = chat("500_once", provider="once")

    assert [client.post(path, json=ask()).status_code for _ in range(3)] == [500, 200, 200]


def test_rules_choose_endpoints_and_wear_off(client: httpx.Client):
    rule = {"provider": "groq", "model": "sim-plain", "fault": "503", "times": 1}
    client.put("/control/faults", json={"rules": [rule]})

    other = client.post(chat(provider="openai"), json=ask()).status_code
    statuses = [client.post(chat(provider="groq"), json=ask()).status_code for _ in range(2)]
    shown = client.get("/control/faults").json()["rules"]

    assert (other, statuses) == (200, [503, 200])
    assert (shown[0]["seen"], shown[0]["fired"]) == (1, 1)
    assert (
        client.post("/control/faults", json={"fault": "429"}).json()["rules"][1]["fault"] == "429"
    )
    assert client.post(chat(), json=ask()).status_code == 429
    assert client.delete("/control/faults").json() == {"rules": []}
    assert client.post(chat(), json=ask()).status_code == 200


def test_control_says_what_is_wrong(client: httpx.Client):
    assert client.post("/control/faults", json={"fault": "odd"}).status_code == 400
    assert client.put("/control/knobs", json={"chunks": -1}).status_code == 400
    assert client.put("/control/faults", content=b"{").status_code == 400
    assert client.patch("/control/faults").status_code == 405
    assert client.get("/control/nothing").status_code == 404
    assert client.post(chat("odd"), json=ask()).status_code == 404


def test_knobs(client: httpx.Client):
    client.put("/control/knobs", json={"chunks": 33, "gap_ms": 0})

    text = client.post(chat(), json=ask(stream=True, model="gpt-4o")).text

    assert text.count('"delta":{"content"') == 33


def test_what_was_received_can_be_asked_for_without_the_key(client: httpx.Client):
    wanted = marker()
    body = ask(said=f"say {wanted}", temperature=0.5)
    client.post(chat(), json=body, headers={"x-title": "test"})

    kept = client.get("/control/requests", params={"marker": wanted})

    assert kept.json()["body"] == body
    assert kept.json()["headers"]["x-title"] == "test"
    assert "Bearer" not in kept.text
    assert client.get("/control/requests", params={"marker": "marker-x"}).status_code == 404


def test_counters_add_up(client: httpx.Client):
    client.delete("/control/calls")
    client.post(chat(provider="counted"), json=ask())
    client.post(chat("503", provider="counted"), json=ask())
    client.post(chat(provider="counted"), json={"model": "m"})

    counts = client.get("/control/calls").json()["providers"]["counted"]

    assert counts == {
        "started": 3,
        "open": 0,
        "finished": 1,
        "faulted": 1,
        "refused": 1,
        "closed_by_client": 0,
    }


def test_a_client_that_leaves_is_noticed_at_once(port: int, client: httpx.Client):
    wanted = marker()
    body = ask(stream=True, said=wanted, model="sim-paced-50x100")
    with connected(port) as sock:
        sock.sendall(raw_request(chat(provider="left"), body))
        read_until(sock, b'"content":""')
        assert record(client, wanted, lambda _: True)["outcome"] == "open"
        left_ms = time.monotonic() * 1000

    call = record(client, wanted, ended)
    assert call["outcome"] == "closed_by_client"
    assert call["closed_at_ms"] - left_ms < 100
    assert call["chunks_sent"] < 10
    assert client.get("/control/calls").json()["providers"]["left"]["closed_by_client"] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_with_a_stream_open(number: signal.Signals):
    process, port = start()
    with connected(port) as sock:
        sock.sendall(raw_request(chat(), ask(stream=True, model="sim-paced-50x1000")))
        read_until(sock, b"data: ")
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    assert time.monotonic() - begun < 1


def test_a_taken_port_is_said_in_a_sentence(port: int):
    second = subprocess.run(
        [sys.executable, "-m", "workers.simulator", "--port", str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert second.returncode == 1
    assert "cannot listen" in second.stderr
