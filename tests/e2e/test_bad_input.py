"""Bad input over real HTTP: always the contract's envelope, never a 5xx, and memory stays flat."""

from __future__ import annotations

import gzip
import json
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.catalog import STORY
from tests.fixtures.cluster import new_marker, question

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

MIB = 1024 * 1024
LIMIT = 32 * MIB
#: What a few refused giants may leave behind in an allocator.
GROWTH_MAX_BYTES = 50 * MIB
PATIENCE_S = 20
DEEP = 100_000

MESSAGES = '"messages":[{"role":"user","content":"x"}]'


class Wire:
    """One connection to the front door, spoken to by hand."""

    def __init__(self, system):
        host, port = system.cluster.root_urls[0].removeprefix("http://").split(":")
        self.key = system.cluster.api_key
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self._unread = b""

    def head(self, *headers, path="/api/v1/chat/completions"):
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {self.key}",
            "Content-Type: application/json",
            *headers,
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """Status, headers and body of the next answer."""
        head = self._until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                headers.setdefault(name.lower(), []).append(value.strip())
        length = int(headers["content-length"][0])
        while len(self._unread) < length:
            self._read()
        body, self._unread = self._unread[:length], self._unread[length:]
        return int(lines[0].split(" ")[1]), headers, json.loads(body)

    def _until(self, mark):
        while mark not in self._unread:
            self._read()
        head, _, self._unread = self._unread.partition(mark)
        return head

    def _read(self):
        data = self.socket.recv(65536)
        assert data, f"closed after {self._unread!r}"
        self._unread += data

    def close(self):
        self.socket.close()


@pytest.fixture
def wire(system):
    with closing(Wire(system)) as connection:
        yield connection


def front_door_bytes(system):
    """Resident memory of all processes of the front door."""
    pages = 0
    for pid in system.cluster.pids("web"):
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def assert_envelope(status, body, expected):
    assert status == expected, body
    assert body["error"]["code"] == expected
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
    assert "Traceback" not in body["error"]["message"]


NESTED = "[" * DEEP + "]" * DEEP


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, ""),
        (b"{", 400, "JSON"),
        (b"not json", 400, "JSON"),
        (b"[]", 400, "object"),
        (b'"text"', 400, "object"),
        (b"null", 400, "object"),
        (b"\xff\xfe\x00", 400, ""),
        (b'{"model":"x","messages":"\x00"}', 400, ""),
        (b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}', 400, ""),
        (f'{{"model":"{STORY}","messages":[]}}'.encode(), 400, "messages"),
        (f'{{"model":"{STORY}","messages":"hi"}}'.encode(), 400, "messages"),
        (f'{{"model":"{STORY}","messages":[1]}}'.encode(), 400, "messages"),
        (f'{{"model":"{STORY}","messages":[{{"role":"nobody"}}]}}'.encode(), 400, "role"),
        (f'{{"model":7,{MESSAGES}}}'.encode(), 400, "model"),
        (f'{{"model":"{STORY}",{MESSAGES},"max_tokens":"many"}}'.encode(), 400, "max_tokens"),
        (f'{{"model":"{STORY}",{MESSAGES},"max_tokens":-1}}'.encode(), 400, "max_tokens"),
        (f'{{"model":"{STORY}",{MESSAGES},"max_tokens":1e99}}'.encode(), 400, "max_tokens"),
        (f'{{"model":"{STORY}",{MESSAGES},"temperature":NaN}}'.encode(), 400, "JSON"),
        (f'{{"model":"{STORY}",{MESSAGES},"temperature":1e999}}'.encode(), 400, ""),
        (f'{{"model":"{STORY}",{MESSAGES},"stream":"yes"}}'.encode(), 400, "stream"),
        (f'{{"model":"{STORY}",{MESSAGES},"provider":[]}}'.encode(), 400, "provider"),
        (f'{{"model":"e2e/\\u0000",{MESSAGES}}}'.encode(), 400, "model"),
        (f'{{"model":"{"x" * 100_000}",{MESSAGES}}}'.encode(), 400, "model"),
        (f'{{"model":"no/such",{MESSAGES}}}'.encode(), 400, "no/such is not a valid model ID"),
        (NESTED.encode(), 400, ""),
        (f'{{"model":"{STORY}","messages":{NESTED}}}'.encode(), 400, ""),
        (f'{{"model":"{STORY}",{MESSAGES},"extra":{NESTED}}}'.encode(), 400, ""),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, ""),
    ],
)
def test_body_that_cannot_be_used_is_refused_with_a_reason(system, body, status, word):
    answer = system.client.post(
        "/chat/completions", content=body, headers={"Content-Type": "application/json"}
    )

    assert_envelope(answer.status_code, answer.json(), status)
    assert word in answer.json()["error"]["message"]
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "said",
    [
        "nul \\u0000 inside",
        "lone surrogate \\ud800 inside",
        "lone low \\udc00 inside",
        "\\ud83d\\ude82 and \\u2028",
    ],
)
def test_odd_characters_in_a_prompt_are_no_failure(system, said):
    marker = new_marker()
    body = (
        f'{{"model":"{STORY}","max_tokens":50,"provider":{{"only":["good"]}},'
        f'"messages":[{{"role":"user","content":"{said} {marker}"}}]}}'
    )

    answer = system.client.post("/chat/completions", content=body.encode())

    # A lone surrogate is no character: refusing it is as right as replacing it.
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 400:
        assert_envelope(400, answer.json(), 400)
        assert "ud" in said
    else:
        assert len(system.calls(marker)) == 1


def test_huge_body_is_refused_before_it_is_read(system, wire):
    before = front_door_bytes(system)

    wire.send(wire.head(f"Content-Length: {33 * MIB}") + b"x" * MIB)
    status, headers, body = wire.answer()

    assert_envelope(status, body, 413)
    assert str(LIMIT) in body["error"]["message"]
    assert headers["x-request-id"]
    assert front_door_bytes(system) - before < GROWTH_MAX_BYTES


def test_endless_chunked_body_is_refused_at_the_limit(system, wire):
    before = front_door_bytes(system)
    wire.send(wire.head("Transfer-Encoding: chunked"))
    piece = b"%x\r\n%b\r\n" % (MIB, b"x" * MIB)

    # The refusal may come while we are still sending: then the connection is closed behind it.
    for _ in range(LIMIT // MIB + 1):
        wire.send(piece)
    status, _, body = wire.answer()

    assert_envelope(status, body, 413)
    # The limit itself was in memory once.
    assert front_door_bytes(system) - before < GROWTH_MAX_BYTES + LIMIT


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("POST /api/v1/chat/completions", "", 400),
        ("NOT A REQUEST", "", 400),
        ("G\x00T / HTTP/1.1", "", 400),
        ("GET /" + "x" * 9_000 + " HTTP/1.1", "", 414),
        ("GET /livez HTTP/1.1", "X-Big: " + "x" * 20_000 + "\r\n", 431),
        ("GET /livez HTTP/1.1", "X-Many: x\r\n" * 200, 431),
        ("GET /livez HTTP/1.1", "Content-Length: -1\r\n", 400),
        ("GET /livez HTTP/1.1", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        ("GET /livez HTTP/1.1", "X-Folded: a\r\n b\r\n", 400),
    ],
)
def test_what_is_not_http_is_refused_in_the_envelope_too(wire, request_line, headers, status):
    wire.send(f"{request_line}\r\nHost: x\r\n{headers}\r\n".encode())

    told, _, body = wire.answer()

    assert_envelope(told, body, status)


@pytest.mark.parametrize("chunk", [b"zz\r\nx\r\n0\r\n\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n"])
def test_malformed_chunks_are_a_400(wire, chunk):
    wire.send(wire.head("Transfer-Encoding: chunked") + chunk)

    status, _, body = wire.answer()

    assert_envelope(status, body, 400)


def test_compressed_body_is_refused(system):
    body = gzip.compress(json.dumps(question()).encode())

    answer = system.client.post(
        "/chat/completions", content=body, headers={"Content-Encoding": "gzip"}
    )

    assert_envelope(answer.status_code, answer.json(), 400)
    assert "Content-Encoding" in answer.json()["error"]["message"]


def test_pipelined_requests_are_answered_in_order(wire):
    bodies = [json.dumps(question(only=["good"], marker=new_marker())) for _ in range(3)]

    wire.send(
        b"".join(wire.head(f"Content-Length: {len(body)}") + body.encode() for body in bodies)
    )
    answers = [wire.answer() for _ in bodies]

    assert [status for status, _, _ in answers] == [200, 200, 200]
    for body, (_, _, answer) in zip(bodies, answers, strict=True):
        marker = json.loads(body)["messages"][0]["content"].split()[-1]
        assert marker in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "injected",
    ["a\tb", "evil\x0b", "x" * 5_000, '{"a":1}', "caf\xe9", "../../etc", "id; Set-Cookie: a=b"],
)
def test_headers_of_the_caller_never_become_headers_of_ours(system, wire, injected):
    body = json.dumps(question(only=["good"])).encode()

    wire.send(
        wire.head(
            f"X-Request-Id: {injected}",
            f"X-Title: {injected}",
            f"HTTP-Referer: {injected}",
            f"Content-Length: {len(body)}",
        )
        + body
    )
    status, headers, answer = wire.answer()

    assert "set-cookie" not in headers
    if status != 200:
        assert_envelope(status, answer, 400)
    else:
        (request_id,) = headers["x-request-id"]
        assert re.fullmatch(r"[!-~]{1,200}", request_id)
        found = system.settled(headers["x-generation-id"][0])
        assert found.request_id == request_id
        assert len(found.app_title or "") <= 256


def test_good_request_id_is_kept(system):
    answer = system.ask(only=["good"], headers={"X-Request-Id": "req_my-own.id-1"})

    assert answer.headers["X-Request-Id"] == "req_my-own.id-1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/chat/completions", 405),
        ("POST", "/nothing", 404),
        ("DELETE", "/models", 405),
        ("GET", "/models/no/such/endpoints", 404),
        ("GET", "/generation", 400),
        ("GET", "/generation?id=gen-%00", 404),
        ("GET", "/generation?id=" + "x" * 5000, 404),
        ("GET", "/models?category=%FF", 400),
    ],
)
def test_wrong_path_or_method_is_told_in_the_envelope(system, method, path, status):
    answer = system.client.request(method, path)

    assert_envelope(answer.status_code, answer.json(), status)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "k" * 9_000])
def test_wrong_key_is_401(system, value):
    answer = system.client.post(
        "/chat/completions", json=question(), headers={"Authorization": value}
    )

    assert_envelope(answer.status_code, answer.json(), 401)


def test_memory_stays_flat_under_a_stream_of_nonsense(system):
    bodies = [NESTED.encode(), b'{"a":' * DEEP, b"x" * (4 * MIB), b'{"messages":[' + b"1," * MIB]
    for body in bodies:
        system.client.post("/chat/completions", content=body)
    before = front_door_bytes(system)

    for _ in range(10):
        for body in bodies:
            answer = system.client.post("/chat/completions", content=body)
            assert_envelope(answer.status_code, answer.json(), 400)

    assert front_door_bytes(system) - before < GROWTH_MAX_BYTES
