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
from routing.sealing import Place, Sealer
from tests.unit.workers.simulator.talk import Reply, call
from workers import google_tokens
from workers import keyring as keyrings
from workers.google_tokens import FAILURE_KEPT_MS, REFRESH_BEFORE_MS, GoogleTokens
from workers.keyring import Keyring, OwnKey, _simulated_account
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


# customers' own keys

SEALER = Sealer(b"s" * 32)


def own_key(text: str, of: str = "acme", *, by: Sealer = SEALER, **changes: str) -> OwnKey:
    place = Place.of_provider_key("k1", "user_1", of)
    known = {"id": "k1", "account_id": "user_1", "provider": of}
    return OwnKey(**(known | {"sealed": by.seal(text, place)} | changes))


def own_ring() -> Keyring:
    return Keyring({"ACME_KEY": "OPERATORS"}, sealer=SEALER)


def test_an_own_key_is_shown_instead_of_the_operators(endpoint):
    ring = own_ring()

    assert ring.credential(endpoint(), own_key("mine")) == ApiKey("mine")
    assert ring.credential(endpoint()) == ApiKey("OPERATORS")
    unlisted = endpoint(provider={"key_variable": "NONE_SET"})
    assert ring.credential(unlisted, own_key("mine")) == ApiKey("mine")


def test_own_keys_in_every_form(endpoint, server, monkeypatch):
    ring = own_ring()
    aws = {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "s", "region": "us-east-1"}
    azure = {"model_slug": "a/m", "endpoint_url": AZURE_URL, "api_key": "s", "model_id": "m"}
    monkeypatch.setattr(keyrings, "own_service_account", lambda _: account(server))

    found = ring.credential(endpoint(dialect="bedrock"), own_key(orjson.dumps(aws).decode()))
    assert isinstance(found, AwsKeys)
    found = ring.credential(endpoint(dialect="azure"), own_key(orjson.dumps(azure).decode()))
    assert found == AzureKey(value="s", endpoint_url=AZURE_URL, model_id="m")
    for dialect in ("vertex", "vertex-anthropic"):
        found = ring.credential(endpoint(dialect=dialect), own_key("{}"))
        assert isinstance(found, GoogleToken)
    assert len(server.paths) == 1  # one token for both


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "azure", "bedrock", "cohere"])
def test_a_key_to_play_with_is_shown_to_the_simulator(endpoint, dialect: str):
    there = endpoint(dialect=dialect, provider={"simulated": True})

    assert own_ring().credential(there, own_key("sk-byok-good")) == ApiKey("sk-byok-good")


@pytest.mark.parametrize("dialect", ["vertex", "vertex-anthropic"])
def test_a_key_to_play_with_stands_for_a_token(endpoint, dialect: str):
    there = endpoint(dialect=dialect, provider={"simulated": True})

    found = own_ring().credential(there, own_key("sk-byok-good"))

    assert found == GoogleToken(token="sk-byok-good", project="simulator")  # noqa: S106 - none


def test_the_simulator_sees_no_own_key(endpoint):
    found = own_ring().credential(endpoint(provider={"simulated": True}), own_key("mine"))

    assert found == ApiKey("simulator")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (own_key("mine", "other"), "is not one of Acme"),
        (own_key("mine", "other", provider="acme"), "does not open any more; store it again"),
        (own_key("mine", account_id="user_2"), "does not open any more"),
        (own_key("mine", id="k2"), "does not open any more"),
        (own_key("mine", sealed="nonsense"), "does not open any more"),
        (own_key("mine", by=Sealer(b"t" * 32)), "does not open any more"),
        (own_key("SECRET\r\nX-Evil: 1"), "must be one line without spaces"),
    ],
)
def test_an_own_key_that_cannot_be_used(endpoint, own: OwnKey, words: str):
    ring = own_ring()

    for _ in range(2):
        with pytest.raises(UpstreamDenied, match=words) as caught:
            ring.credential(endpoint(), own)
        assert "own key" in str(caught.value)
        assert "SECRET" not in str(caught.value)
        assert "ACME_KEY" not in str(caught.value)


@pytest.mark.parametrize("dialect", ["azure", "bedrock", "vertex", "vertex-anthropic"])
def test_an_own_key_in_another_form_is_its_owners_to_mend(endpoint, dialect: str):
    with pytest.raises(UpstreamDenied, match="Your own key of Acme cannot be used: must") as caught:
        own_ring().credential(endpoint(dialect=dialect), own_key('{"api_key": "SECRET"'))

    assert "SECRET" not in str(caught.value)


def test_an_own_azure_key_without_this_model(endpoint):
    azure = {"model_slug": "b/n", "endpoint_url": AZURE_URL, "api_key": "s", "model_id": "m"}

    with pytest.raises(UpstreamDenied, match="Your own key of Acme has no deployment"):
        own_ring().credential(endpoint(dialect="azure"), own_key(orjson.dumps(azure).decode()))


def test_without_a_secret_no_own_key_opens(endpoint):
    with pytest.raises(UpstreamDenied, match="does not open any more"):
        Keyring({"ACME_KEY": "OPERATORS"}).credential(endpoint(), own_key("mine"))


def test_an_own_key_is_opened_once_and_only_so_many_are_kept_open(endpoint, monkeypatch):
    monkeypatch.setattr(keyrings, "OWN_KEYS_MAX", 2)
    opened: list[str] = []
    open_it = Sealer.open

    def counted(self: Sealer, sealed: str, place: Place) -> str:
        opened.append(sealed)
        return open_it(self, sealed, place)

    monkeypatch.setattr(Sealer, "open", counted)
    ring = own_ring()
    one, two, three = (own_key(name) for name in ("one", "two", "three"))

    for own in (one, one, two, one, three, one, two):
        ring.credential(endpoint(), own)

    assert opened == [one.sealed, two.sealed, three.sealed, two.sealed]
    assert one.sealed not in repr(one)


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
