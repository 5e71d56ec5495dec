"""Streams under way: clients that leave or do not read, channels that break, many at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from tests.cluster import wait_until
from tests.e2e.catalog import PACED, PACED_PIECES, PROVIDER_KEY, STEADY, STEADY_PIECES
from tests.fixtures.cluster import eventually, new_marker, question

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

LEFT_S = 2.0


def leave_after_first_chunk(system, **fields):
    """Read one piece of a stream and go; returns the generation id and when we left (ms)."""
    body = question(stream=True, **fields)
    with system.client.stream("POST", "/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(line for line in lines if line.startswith("data: "))
    # Leaving a stream that is not read to its end closes its connection.
    return response.headers["X-Generation-Id"], time.monotonic() * 1000


def direct(system, marker):
    """The content the simulator sends to the very request it got from the router."""
    received = system.cluster.received(marker)
    answer = httpx.post(
        f"{system.cluster.simulator_url}/p/{received['provider']}{received['path']}",
        json=received["body"],
        headers={"Authorization": f"Bearer {PROVIDER_KEY}"},
        timeout=30,
    )
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def sent_raw(system, body):
    """A connection on which a request was sent and nothing is read, with a small window."""
    host, port = system.cluster.root_urls[0].removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect((host, int(port)))
    payload = json.dumps(body).encode()
    head = (
        "POST /api/v1/chat/completions HTTP/1.1\r\n"
        f"Host: {host}\r\nAuthorization: Bearer {system.cluster.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        "Connection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + payload)
    return connection


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_content_is_what_the_provider_sent(system):
    marker = new_marker()

    stream = system.stream(only=["good"], said='Ünïcödé 漢字 \\u0041 "quoted" 🚂', marker=marker)

    assert stream.content == direct(system, marker)


def test_client_that_leaves_ends_the_upstream_call_and_pays_for_what_came(system):
    marker = new_marker()

    generation_id, left_ms = leave_after_first_chunk(system, model=PACED, marker=marker)

    def closed():
        (call,) = system.calls(marker)
        return call if call["outcome"] != "open" else None

    call = eventually(closed, 5, "the end of the upstream call")
    assert call["outcome"] == "closed_by_client"
    assert call["closed_at_ms"] - left_ms < LEFT_S * 1000
    assert call["chunks_sent"] < PACED_PIECES
    found = system.settled(generation_id)
    assert found.outcome == "cancelled"
    assert not found.insured
    assert 0 < found.usage.completion_tokens <= 100
    assert 0 < found.cost_nano < found.hold_nano
    assert system.paid_nano(generation_id)["customer"] == -found.cost_nano
    assert system.generation(generation_id)["cancelled"] is True


def test_where_leaving_does_not_stop_the_bill_the_call_runs_on_and_is_charged(system):
    marker = new_marker()

    generation_id, _ = leave_after_first_chunk(system, model=STEADY, only=["spare"], marker=marker)

    found = system.settled(generation_id)
    (call,) = system.calls(marker)
    assert call["outcome"] == "finished"
    assert found.outcome == "cancelled"
    assert found.usage.completion_tokens > 0
    assert not found.usage.estimated
    assert found.cost_nano > 0


def test_client_that_leaves_before_the_first_byte_is_noticed_too(system):
    marker = new_marker()
    body = question(only=["slow"], marker=marker)
    host_and_head = sent_raw(system, body)
    wait_until(lambda: system.calls(marker), 5, "the upstream call")

    host_and_head.close()

    left_ms = time.monotonic() * 1000

    def ended():
        (call,) = system.calls(marker)
        return call if call["outcome"] != "open" else None

    call = eventually(ended, 5, "the end of the upstream call")
    # A plain call's provider bills to the end, so it is left to run.
    assert call["outcome"] in {"finished", "closed_by_client"}
    assert call["ended_ms"] - left_ms < LEFT_S * 1000


def test_slow_reader_delays_nobody_and_gets_everything(system):
    # Given: one who asked for 5 MB and does not read, longer than any buffer in between.
    with closing(sent_raw(system, question(stream=True, only=["huge"]))) as slow:
        wait_until(lambda: system.cluster.redis.dbsize() > 0, 5, "redis")

        # When: another asks meanwhile.
        started = time.monotonic()
        stream = system.stream(only=["good"])
        took_s = time.monotonic() - started
        answer = read_all(slow)

    # Then: neither suffers.
    assert stream.done
    assert took_s < 2.0
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"[DONE]" in answer
    whole = b"x" * (5 * 1024 * 1024)
    text = answer.partition(b"\r\n\r\n")[2]
    assert whole in unchunked(text)


def unchunked(body):
    """The content of a chunked body."""
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)


def test_slow_reader_of_many_pieces_gets_all_of_them(system):
    marker = new_marker()
    body = question(stream=True, model=PACED, marker=marker)
    with closing(sent_raw(system, body)) as slow:

        def finished():
            calls = system.calls(marker)
            return calls and calls[0]["outcome"] == "finished"

        wait_until(finished, 15, "the upstream stream")

        text = unchunked(read_all(slow).partition(b"\r\n\r\n")[2]).decode()

    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(line) for line in data if line != "[DONE]"]
    content = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert data[-1] == "[DONE]"
    assert content == direct(system, marker)


def test_lost_channel_loses_no_piece(system):
    marker = new_marker()
    stop = threading.Event()

    def keep_breaking():
        while not stop.wait(0.25):
            system.cluster.redis.client_kill_filter(_type="pubsub")

    breaker = threading.Thread(target=keep_breaking)
    breaker.start()
    try:
        stream = system.stream(model=STEADY, only=["good"], marker=marker)
    finally:
        stop.set()
        breaker.join()

    assert stream.done
    assert stream.finish_reasons == ["stop"]
    assert stream.content == direct(system, marker)
    assert len(stream.chunks) >= STEADY_PIECES


def test_many_streams_at_once_each_get_their_own(system):
    markers = [new_marker() for _ in range(40)]

    with ThreadPoolExecutor(len(markers)) as pool:
        streams = list(
            pool.map(lambda marker: system.stream(only=["good"], marker=marker), markers)
        )

    for marker, stream in zip(markers, streams, strict=True):
        assert stream.done
        assert marker in stream.content
        assert len(system.calls(marker)) == 1
    assert len({stream.generation_id for stream in streams}) == len(markers)
