"""Rules of the PKCE flow: where a code may be sent, and how its holder proves to have asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote

from routing.errors import BadRequest, ConfigError, ConfigProblem
from routing.settings import Settings

ChallengeMethod = Literal["S256", "plain"]
METHODS: tuple[ChallengeMethod, ...] = ("S256", "plain")
#: Longest address a browser is sent back to.
CALLBACK_MAX = 2_048
#: Longest plain challenge and longest verifier: twice what RFC 7636 asks for.
VERIFIER_MAX = 256
#: Parameters of ours; an address that has them already could smuggle in a code of its own.
_OURS = frozenset({"code", "error"})
_HTTPS_PORT, _HTTP_PORT, _PORT_MAX = 443, 80, 65_535
#: What may be asked for without TLS: it never leaves the machine.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# One grammar for the whole address. Everything that parsers read differently is outside of it:
# user names, fragments, backslashes, blanks, letters beyond ASCII, escapes in the host.
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[::1\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[a-z0-9\-._~!$&'()*+,;=:@%/]*)?"
    r"(?:\?(?P<query>[a-z0-9\-._~!$&'()*+,;=:@%/?\[\]]*))?",
    re.IGNORECASE | re.ASCII,
)
_S256 = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_PLAIN = re.compile(rf"[\x21-\x7e]{{1,{VERIFIER_MAX}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Callback:
    """Where a browser is sent with its code.

    Attributes:
        url: as the application gave it.
        origin: `scheme://host[:port]` in lower case: who gets the key, as far as anyone can tell.
    """

    url: str
    origin: str

    def with_code(self, code: str) -> str:
        """The address to go to after a yes."""
        return self._with("code", code)

    def refused(self) -> str:
        """The address to go to after a no, with the error RFC 6749 has for it."""
        return self._with("error", "access_denied")

    def _with(self, name: str, value: str) -> str:
        before, mark, query = self.url.partition("?")
        joint = "&" if query and not query.endswith("&") else ""
        return f"{before}{mark or '?'}{query}{joint}{name}={quote(value, safe='')}"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the verifier of an exchange must match."""

    text: str
    method: ChallengeMethod

    def met_by(self, verifier: str) -> bool:
        """Whether the one who shows the verifier is the one who set the challenge."""
        shown = s256(verifier) if self.method == "S256" else verifier
        return hmac.compare_digest(shown.encode(), self.text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class PkceRules:
    """What an operator asks of applications beyond the contract.

    Attributes:
        s256_only: neither plain challenges nor codes without one.
        origins: of the callbacks that codes may go to; empty for all.
    """

    s256_only: bool = False
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> PkceRules:
        """As the operator has set them.

        Raises:
            ConfigError: one of the origins is none.
        """
        named = (part.strip() for part in settings.oauth_origins.split(","))
        return cls(
            s256_only=settings.oauth_pkce == "s256",
            origins=frozenset(_origin(part) for part in named if part),
        )

    def check(self, callback: Callback | None, challenge: Challenge | None) -> None:
        """What a code is asked for with.

        Raises:
            BadRequest: not by these rules.
        """
        if callback is not None and self.origins and callback.origin not in self.origins:
            raise _no_callback(f"must not be of {callback.origin}: it is not on the list here")
        if challenge is None:
            self.check_method(None)
        else:
            self.check_method(challenge.method)

    def check_method(self, method: ChallengeMethod | None) -> None:
        """The method of a code's challenge; None without one.

        Raises:
            BadRequest: not by these rules.
        """
        if self.s256_only and method != "S256":
            raise BadRequest(
                "A code_challenge with the code_challenge_method S256 is required here",
                param="code_challenge_method" if method else "code_challenge",
            )


#: The contract's own.
ANY_PKCE = PkceRules()


def s256(verifier: str) -> str:
    """SHA-256 in base64url, without padding."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def read_callback(url: str) -> Callback:
    """Check an address that a code is to be sent to.

    Raises:
        BadRequest: neither https nor a machine's own http, or one that could be mistaken for
            another. Never send a browser to it.
    """
    found = _ADDRESS.fullmatch(url) if len(url) <= CALLBACK_MAX else None
    if found is None:
        raise _no_callback(f"must be a plain URL of at most {CALLBACK_MAX} characters")
    scheme, host = found["scheme"].lower(), found["host"].lower()
    if scheme == "http" and host not in _LOOPBACK:
        raise _no_callback("must be https; http only for localhost and 127.0.0.1")
    usual = _HTTPS_PORT if scheme == "https" else _HTTP_PORT
    port = usual if found["port"] is None else int(found["port"])
    if not 0 < port <= _PORT_MAX:
        raise _no_callback("has no such port")
    if _smuggles(found["query"] or ""):
        raise _no_callback("must not have a `code` or `error` of its own")
    origin = f"{scheme}://{host}" + ("" if port == usual else f":{port}")
    return Callback(url, origin)


def _origin(text: str) -> str:
    """One of the operator's list, as callbacks have it."""
    found = _ADDRESS.fullmatch(text)
    try:
        if found is not None and found["path"] in {None, "/"} and found["query"] is None:
            return read_callback(text).origin
    except BadRequest:
        pass
    raise ConfigError(
        (
            ConfigProblem(
                "POINTSMAN_OAUTH_ORIGINS",
                f"{text!r} is no origin.",
                "Write https://host or https://host:port, separated by commas.",
            ),
        )
    )


def _smuggles(query: str) -> bool:
    """Whether some reader would find a parameter of ours: `;` divides, case or an index is lost."""
    pairs = parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    return any(name.partition("[")[0].strip().lower() in _OURS for name, _ in pairs)


def read_method(method: str | None) -> ChallengeMethod | None:
    """Check the name of a method; None for none.

    Raises:
        BadRequest: it is neither S256 nor plain.
    """
    if method is None:
        return None
    for known in METHODS:
        if method == known:
            return known
    raise wrong_method()


def read_challenge(text: str | None, method: str | None) -> Challenge | None:
    """Check a challenge; None when there is none. As in RFC 7636, `plain` need not be named.

    Raises:
        BadRequest: it is not of the form its method gives it, or a method without a challenge.
    """
    known = read_method(method)
    if not text:
        if known is not None:
            raise wrong_method()
        return None
    if known == "S256":
        text = text.removesuffix("=")
    if not (_S256 if known == "S256" else _PLAIN).fullmatch(text):
        raise BadRequest("Invalid code_challenge", param="code_challenge")
    return Challenge(text, known or "plain")


def wrong_method() -> BadRequest:
    """What the contract says of an unknown method, and of one that differs from the challenge's."""
    return BadRequest("Invalid code_challenge_method", param="code_challenge_method")


def _no_callback(why: str) -> BadRequest:
    return BadRequest(f"The callback_url {why}", param="callback_url")
