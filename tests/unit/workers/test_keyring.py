"""Which credential a call is made with, and how tokens of Google come and are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from routing.clock import FixedClock, SystemClock
from routing.credentials import ApiKey, AwsKeys, AzureKey, GoogleToken, ServiceAccount
from routing.errors import UpstreamDenied, UpstreamDown
from tests.unit.workers.simulator.talk import Reply, call
from workers import google_tokens
from workers.google_tokens import FAILURE_KEPT_MS, REFRESH_BEFORE_MS, GoogleTokens
from workers.keyring import Keyring, _simulated_account
from workers.simulator.google_token import bearer_ok
from workers.simulator.wire import Request

pytestmark = pytest.mark.enable_socket

AZURE_URL = "https://x.openai.azure.com/openai/deployments/m/chat/completions?api-version=1"
Behaviour = Callable[[str, bytes, dict[str, str]], Reply]


class TokenServer:
    """The simulator's token endpoint behind a real socket, or whatever it is told to be."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.behaviour: Behaviour = call
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.paths.append(self.path)
                reply = outer.behaviour(self.path, body, headers)
                self.send_response(reply.status)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def says(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self.behaviour = lambda *_: Reply(status, {}, data)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[TokenServer]:
    found = TokenServer()
    yield found
    found.close()


def account(server: TokenServer) -> ServiceAccount:
    return _simulated_account(f"{server.origin}/token")


def clock() -> FixedClock:
    return FixedClock(SystemClock().now_ms())


# which credential


def test_a_plain_key_and_none(endpoint):
    keyring = Keyring({"ACME_KEY": "secret"})

    assert keyring.credential(endpoint()) == ApiKey("secret")
    assert keyring.credential(endpoint(provider={"key_variable": ""})) == ApiKey("")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [("openai", ApiKey), ("gemini", ApiKey), ("azure", ApiKey), ("bedrock", AwsKeys)],
)
def test_the_simulator_sees_no_real_key(endpoint, dialect: str, expected: type):
    keyring = Keyring({"ACME_KEY": "secret"})

    found = keyring.credential(endpoint(dialect=dialect, provider={"simulated": True}))

    assert type(found) is expected
    assert getattr(found, "value", "") != "secret"


@pytest.mark.parametrize("dialect", ["vertex", "vertex-anthropic"])
def test_a_token_is_fetched_from_the_simulator(endpoint, server, dialect: str):
    keyring = Keyring({})
    there = endpoint(
        "google-vertex",
        dialect=dialect,
        provider={"simulated": True, "base_url": f"{server.origin}/p/google-vertex/v1"},
    )

    found = keyring.credential(there)

    assert isinstance(found, GoogleToken)
    assert found.project == "simulator"
    assert keyring.credential(there) == found
    assert server.paths == ["/p/google-vertex/token"]
    headers = {"authorization": f"Bearer {found.token}"}
    assert bearer_ok(
        Request(method="POST", target="/", headers=headers, body=b"", keep_alive=False)
    )
    assert found.token not in repr(found)


def test_bedrock_takes_either_form(endpoint):
    there = endpoint(dialect="bedrock")
    keys = {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "s", "region": "us-east-1"}

    assert Keyring({"ACME_KEY": "ABSK1"}).credential(there) == ApiKey("ABSK1")
    found = Keyring({"ACME_KEY": orjson.dumps(keys).decode()}).credential(there)
    assert isinstance(found, AwsKeys)
    assert found.region == "us-east-1"


def test_azure_has_a_key_for_each_model(endpoint):
    config = {"model_slug": "a/m", "endpoint_url": AZURE_URL, "api_key": "s", "model_id": "m"}
    keyring = Keyring({"ACME_KEY": orjson.dumps(config).decode()})

    expected = AzureKey(value="s", endpoint_url=AZURE_URL, model_id="m")
    assert keyring.credential(endpoint(dialect="azure")) == expected
    assert keyring.credential(endpoint(dialect="azure", model_id="a/m:free")) == expected
    with pytest.raises(UpstreamDenied, match="Acme has no deployment with model_slug 'b/n'"):
        keyring.credential(endpoint(dialect="azure", model_id="b/n"))


@pytest.mark.parametrize("dialect", ["azure", "bedrock", "vertex", "vertex-anthropic"])
@pytest.mark.parametrize("secret", ["", '{"api_key": "SECRET", "secretAccessKey": "SECRET"'])
def test_a_key_that_cannot_be_read_is_the_operators_to_fix(endpoint, dialect: str, secret: str):
    keyring = Keyring({"ACME_KEY": secret})

    for _ in range(2):
        with pytest.raises(
            UpstreamDenied, match=r"The key of Acme cannot be used\. ACME_KEY: must"
        ) as c:
            keyring.credential(endpoint(dialect=dialect))
        assert "SECRET" not in str(c.value)


# tokens


def test_a_token_is_kept_until_shortly_before_its_end(server):
    time_now = clock()
    tokens = GoogleTokens(time_now)

    first = tokens.token(account(server))
    time_now.advance(3_590_000 - REFRESH_BEFORE_MS)
    assert tokens.token(account(server)) == first
    assert len(server.paths) == 1

    time_now.advance(20_000)
    tokens.token(account(server))
    assert len(server.paths) == 2


def test_many_who_ask_at_once_make_one_request(server):
    real = server.behaviour

    def slowly(*given: Any) -> Reply:
        time.sleep(0.1)
        return real(*given)

    server.behaviour = slowly
    tokens = GoogleTokens()
    given = account(server)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: tokens.token(given), range(8)))

    assert len(set(found)) == 1
    assert len(server.paths) == 1


def test_the_old_token_serves_while_a_new_one_cannot_be_had(server):
    time_now = clock()
    tokens = GoogleTokens(time_now)
    first = tokens.token(account(server))
    server.says(404, b"<html>")
    time_now.advance(3_600_000 - REFRESH_BEFORE_MS)

    assert tokens.token(account(server)) == first

    time_now.advance(REFRESH_BEFORE_MS)
    with pytest.raises(UpstreamDown):
        tokens.token(account(server))


def test_a_failure_is_told_to_everybody_and_soon_forgotten(server):
    time_now = clock()
    tokens = GoogleTokens(time_now)
    real = server.behaviour
    server.says(400, {"error": "invalid_grant", "error_description": "SECRET"})

    for _ in range(2):
        with pytest.raises(
            UpstreamDenied, match="Google refused the service account: invalid_grant"
        ):
            tokens.token(account(server))
    assert len(server.paths) == 1

    server.behaviour = real
    time_now.advance(FAILURE_KEPT_MS)
    assert tokens.token(account(server)).token


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_grant", "error_description": "x"}, UpstreamDenied),
        (401, {"error": "invalid_client"}, UpstreamDenied),
        (404, b"<html>", UpstreamDown),
        (200, b"<html>", UpstreamDown),
        (200, {}, UpstreamDown),
        (200, {"access_token": 7, "expires_in": 10}, UpstreamDown),
        (200, {"access_token": "x"}, UpstreamDown),
        (200, {"access_token": "x", "expires_in": "soon"}, UpstreamDown),
        (200, [], UpstreamDown),
        (200, b"\xff\xfe", UpstreamDown),
        (200, {"access_token": "x\ny", "expires_in": 10}, UpstreamDown),
        (200, {"access_token": "x", "expires_in": 10**12}, UpstreamDown),
        (400, b"\xff\xfe", UpstreamDown),
        (400, [], UpstreamDown),
        (400, {"error": {"a": 1}}, UpstreamDown),
        (200, b'"' + b"x" * 100_000 + b'"', UpstreamDown),
        (302, b"", UpstreamDown),
    ],
)
def test_whatever_the_token_service_says(server, status: int, body: Any, kind: type[Exception]):
    server.says(status, body)

    with pytest.raises(kind):
        GoogleTokens().token(account(server))


def test_a_token_service_that_is_busy_is_asked_again_within_the_bound(server, monkeypatch):
    monkeypatch.setattr(google_tokens, "FETCH_MAX_S", 0.5)
    server.says(503, {"error": "internal_failure"})
    started = time.monotonic()

    with pytest.raises(UpstreamDown):
        GoogleTokens().token(account(server))

    assert time.monotonic() - started < 8


def test_a_token_service_that_is_not_there():
    gone = TokenServer()
    gone.close()

    with pytest.raises(UpstreamDown, match="not available: ConnectError"):
        GoogleTokens().token(account(gone))


def test_a_token_service_that_keeps_silent(server):
    release = threading.Event()

    def silent(*_: Any) -> Reply:
        release.wait(10)
        return Reply(200, {}, b"{}")

    server.behaviour = silent
    started = time.monotonic()
    try:
        with pytest.raises(google_tokens.exceptions.TransportError):
            google_tokens.Transport(SystemClock(), limit_s=0.2)(
                f"{server.origin}/token", "POST", b""
            )
    finally:
        release.set()
    assert time.monotonic() - started < 5


def test_only_so_many_accounts_are_remembered(server, monkeypatch):
    monkeypatch.setattr(google_tokens, "ACCOUNTS_MAX", 1)
    tokens = GoogleTokens()
    one, other = account(server), _simulated_account(f"{server.origin}/p/x/token")

    for given in (one, one, other, one):
        tokens.token(given)

    assert len(server.paths) == 3
