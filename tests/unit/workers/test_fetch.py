"""The fetcher against real sockets on loopback, which the operator's list lets through by name."""

import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from tests.unit.routing.test_addresses import DENIED
from workers import fetch
from workers.fetch import BYTES_MAX, Fetcher, FetchFailed, Target, allow_list

pytestmark = pytest.mark.enable_socket
PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


@contextmanager
def serving(*answers: bytes, drip_s: float | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one answer per connection; what it was asked is in the list."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        over = threading.Event()

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65_536))
                    try:
                        if drip_s is None:
                            connection.sendall(answer)
                        else:
                            for place in range(len(answer)):
                                connection.sendall(answer[place : place + 1])
                                if over.wait(drip_s):
                                    return
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            over.set()
            thread.join(5)


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def answer(
    body: bytes, content_type: str = "image/png", status: str = "200 OK", **more: str
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fetcher(port: int, host: str = "files.test", address: str = "127.0.0.1") -> Fetcher:
    return Fetcher(frozenset({f"{host}:{port}"}), lambda _host, _port: [address])


def test_a_picture_comes_back_as_a_data_url():
    with serving(answer(PNG)) as (port, asked):
        found = fetcher(port).data_url(f"http://files.test:{port}/a%20b.png?x=1", "image", soon())
    assert b64decode(found.removeprefix("data:image/png;base64,")) == PNG
    assert asked[0].startswith(b"GET /a%20b.png?x=1 HTTP/1.1\r\nhost: files.test:")
    assert b"authorization" not in asked[0].lower()
    assert b"cookie" not in asked[0].lower()


@pytest.mark.parametrize("address", DENIED)
def test_none_of_the_addresses_that_lead_inside_is_connected_to(address: str, monkeypatch):
    def connect(*_: object) -> socket.socket:
        raise AssertionError("connected")

    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    refused = Fetcher(resolve=lambda _host, _port: [address])
    with pytest.raises(FetchFailed, match="not on the public internet"):
        refused.data_url("https://innocent.test/a.png", "image", soon())


def test_one_inner_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    monkeypatch.setattr(fetch.socket, "create_connection", lambda *_: pytest.fail("connected"))
    both = Fetcher(resolve=lambda _host, _port: ["1.1.1.1", "10.0.0.1"])
    with pytest.raises(FetchFailed, match="not on the public internet"):
        both.data_url("https://innocent.test/a.png", "image", soon())


def test_a_name_that_changes_its_mind_is_called_at_the_address_that_was_checked(monkeypatch):
    answers = iter([["1.1.1.1"], ["127.0.0.1"]])
    called: list[object] = []

    def connect(address: object, _timeout: float) -> socket.socket:
        called.append(address)
        raise OSError

    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    rebinding = Fetcher(resolve=lambda _host, _port: next(answers))
    with pytest.raises(FetchFailed, match="cannot be reached"):
        rebinding.data_url("https://rebinding.test/a.png", "image", soon())
    assert called == [("1.1.1.1", 443)]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://0x7f000001/", "http://2130706433/",
        "http://017700000001/", "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http://localhost/",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/", "http://127.0.0.1.",
    ],
)  # fmt: skip
def test_no_way_of_writing_this_machine_is_followed(url: str, monkeypatch):
    """Through the system's own resolver, which reads all of them."""
    monkeypatch.setattr(fetch.socket, "create_connection", lambda *_: pytest.fail("connected"))
    with pytest.raises(FetchFailed):
        Fetcher().data_url(url, "image", soon())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://files.test/a", "only http"),
        ("file:///etc/passwd", "only http"),
        ("gopher://files.test/", "only http"),
        ("http://user:pass@files.test/a", "credentials"),
        ("http://good.test@files.test/", "credentials"),
        ("http:///a", "no host"),
        ("http://[fe80::1%25eth0]/", "no host"),
        ("http://files.test\\@evil.test/", "characters"),
        ("http://files.test/\r\nhost: x", "characters"),
        ("http://files.test:99999/", "can be read"),
        ("http://files.test:25/", "only ports"),
        ("http://files.test:6379/", "only ports"),
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str, says: str):
    with pytest.raises(FetchFailed, match=says):
        Fetcher(resolve=lambda _host, _port: ["1.1.1.1"]).data_url(url, "image", soon())


def test_names_that_do_not_resolve_are_told():
    with pytest.raises(FetchFailed, match="cannot be resolved"):
        Fetcher(resolve=lambda _host, _port: []).data_url("http://nobody.test/", "image", soon())


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temp", "308 Perm"])
@pytest.mark.parametrize(
    "to", ["http://inside.test/", "http://169.254.169.254/", "//10.0.0.1/x", "file:///etc/passwd"]
)
def test_redirects_are_checked_like_first_calls(status: str, to: str):
    with serving(answer(b"", status=status, location=to)) as (port, asked):
        names = {"files.test": "127.0.0.1", "inside.test": "10.0.0.1"}
        one = Fetcher(
            frozenset({f"files.test:{port}"}), lambda host, _port: [names.get(host, host)]
        )
        with pytest.raises(FetchFailed):
            one.data_url(f"http://files.test:{port}/", "image", soon())
    assert len(asked) == 1


def test_a_redirect_is_followed_a_few_times():
    with serving(answer(b"", status="302 Found", location="/next"), answer(PNG)) as (port, asked):
        assert (
            fetcher(port)
            .data_url(f"http://files.test:{port}/", "image", soon())
            .startswith("data:image/png")
        )
    assert asked[1].startswith(b"GET /next ")


def test_but_not_for_ever():
    around = answer(b"", status="302 Found", location="/again")
    redirected = pytest.raises(FetchFailed, match="redirects more than 3")
    with serving(*[around] * 4) as (port, asked), redirected:
        fetcher(port).data_url(f"http://files.test:{port}/", "image", soon())
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (answer(b"<html>", "text/html"), "not one of"),
        (answer(b"\x7fELF", "image/png; x"), None),
        (answer(b"{}", "application/json"), "not one of"),
        (answer(b"nope", status="404 Not Found"), "answered 404"),
        (answer(b"%PDF-1.7", "image/png"), "not one of"),
        (b"garbage", "no answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort", "broke off"),
    ],
)
def test_what_comes_back_must_be_what_was_asked_for(given: bytes, says: str | None):
    with serving(given) as (port, _):
        if says is None:
            assert fetcher(port).data_url(f"http://files.test:{port}/", "image", soon())
            return
        with pytest.raises(FetchFailed, match=says):
            fetcher(port).data_url(f"http://files.test:{port}/", "image", soon())


def test_size_is_bounded_while_it_is_read(monkeypatch):
    monkeypatch.setattr(fetch, "BYTES_MAX", {**BYTES_MAX, "image": 1024})
    too_large = pytest.raises(FetchFailed, match="larger than")
    with serving(answer(PNG + bytes(4096))) as (port, _), too_large:
        fetcher(port).data_url(f"http://files.test:{port}/", "image", soon())


def test_so_is_time_against_a_server_that_drips():
    too_slow = pytest.raises(FetchFailed, match=r"too slow|no answer")
    with serving(answer(PNG), drip_s=0.05) as (port, _), too_slow:
        fetcher(port).data_url(f"http://files.test:{port}/", "image", soon(0.4))


def test_and_against_one_that_never_ends_its_handshake(monkeypatch):
    monkeypatch.setattr(fetch.socket, "create_connection", lambda *_: gevent.sleep(10))
    with pytest.raises(FetchFailed, match="cannot be reached"):
        Fetcher(resolve=lambda _host, _port: ["1.1.1.1"]).data_url(
            "https://a.test/", "image", soon(0.1)
        )


def test_a_connection_that_breaks_is_closed(monkeypatch):
    ours, theirs = socket.socketpair()
    theirs.close()
    monkeypatch.setattr(fetch.socket, "create_connection", lambda *_: ours)
    with pytest.raises(FetchFailed, match="cannot be reached"):
        Fetcher(resolve=lambda _host, _port: ["1.1.1.1"]).data_url(
            "http://a.test/", "image", soon()
        )
    assert ours.fileno() == -1


def test_only_so_many_are_under_way_at_once(monkeypatch):
    monkeypatch.setattr(fetch, "FETCHES_MAX", 1)

    def resolve(host: str, _port: int) -> list[str]:
        if host == "first.test":  # while the first is under way
            one.data_url("http://second.test/", "image", soon(0.05))
        return []

    one = Fetcher(resolve=resolve)
    with pytest.raises(FetchFailed, match="too many others"):
        one.data_url("http://first.test/", "image", soon())
    with pytest.raises(FetchFailed, match="cannot be resolved"):
        one.data_url("http://second.test/", "image", soon())


def test_the_operators_list():
    assert allow_list(" a.test:80 ,B.test:8080,") == {"a.test:80", "b.test:8080"}
    assert allow_list("") == frozenset()


def test_a_target_keeps_what_was_written():
    target = Target.of("https://Exämple.test/ä?q=ü#top")
    assert (target.host, target.port) == ("xn--exmple-cua.test", 443)
    assert target.path == "/%C3%A4?q=%C3%BC"
