"""Secrets at rest: sealed for one place, opened nowhere else.

A sealed text is `v1.<id of the secret>.<wrapped data key>.<nonce and ciphertext>`. The body is
AES-256-GCM under a data key of its own, with the place as associated data: copied to another row,
account or provider it does not open. The data key is wrapped by a key made of `POINTSMAN_SECRET`;
after a change of secret it is wrapped anew and the body stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from routing.errors import ConfigError, ConfigProblem, Unavailable
from routing.settings import Settings

#: Of `POINTSMAN_SECRET`, and of every key made of it.
SECRET_BYTES = 32
#: Earlier secrets that are tried; whoever changes them more often seals anew in between.
EARLIER_MAX = 16
#: Longest text that is sealed.
TEXT_MAX_BYTES = 64 * 1024 * 1024
_VERSION = "v1"
_PARTS = 4
_NONCE_BYTES = 12
_ID_BYTES = 8
#: Between parts of a place; no part has one, so no two places read alike.
_BETWEEN = "|"
_URL_SAFE = str.maketrans("+/", "-_")


class SealError(ValueError):
    """A sealed text does not open: of another place, changed, or of a secret nobody gave us.

    Says which, and never what is in it.
    """


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed text belongs: a kind of row, its id and whose it is.

    Attributes:
        purpose: what it is used with, such as a provider's slug.
    """

    kind: str
    id: str
    account_id: str
    purpose: str = ""

    def __post_init__(self) -> None:
        if any(_BETWEEN in part for part in (self.kind, self.id, self.account_id, self.purpose)):
            raise ValueError(f"no part of a place may have a {_BETWEEN}")

    @classmethod
    def of_provider_key(cls, key_id: str, account_id: str, provider: str) -> Place:
        """Of a provider key of a customer: it opens only for calls to that provider."""
        return cls("byok_keys", key_id, account_id, provider)

    @property
    def data(self) -> bytes:
        """As associated data."""
        return _BETWEEN.join((_VERSION, self.kind, self.id, self.account_id, self.purpose)).encode()


class Sealer:
    """Seals and opens with the secrets of an installation. One per process; shared by threads.

    Args:
        secret: seals, and opens what it sealed; b"" where the operator gave none.
        earlier: only open what they sealed.
    """

    def __init__(self, secret: bytes, earlier: Iterable[bytes] = ()) -> None:
        given = [one for one in (secret, *earlier) if one]
        self._keys = {_id(one): subkey(one, "seal") for one in given}
        self._current = _id(secret) if secret else ""

    @classmethod
    def of(cls, settings: Settings) -> Sealer:
        """With `POINTSMAN_SECRET` and `POINTSMAN_SECRETS_BEFORE`.

        Raises:
            ConfigError: one of them is not a secret.
        """
        return cls(secret_of(settings), _earlier(settings))

    @property
    def kek_ids(self) -> tuple[str, ...]:
        """Of every secret it opens with."""
        return tuple(self._keys)

    @property
    def kek_id(self) -> str:
        """Names the secret that seals now, and tells nothing of it; "" where there is none."""
        return self._current

    def seal(self, text: str, place: Place) -> str:
        """Encrypt; no two results are alike.

        Raises:
            Unavailable: this installation has no secret.
        """
        body = text.encode()
        if len(body) > TEXT_MAX_BYTES:
            raise ValueError("the text is too long to be sealed")
        data_key, nonce = secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(_NONCE_BYTES)
        wrapped = self._wrap(data_key)
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - few need it

        sealed = nonce + AESGCM(data_key).encrypt(nonce, body, place.data)
        return f"{sealed_by(self._current)}{_text(wrapped)}.{_text(sealed)}"

    def open(self, sealed: str, place: Place) -> str:
        """Decrypt.

        Raises:
            SealError: it does not open here.
        """
        kek_id, wrapped, body = _parts(sealed)
        data_key = self._unwrap(kek_id, wrapped)
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

        nonce, ciphertext = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
        try:
            return AESGCM(data_key).decrypt(nonce, ciphertext, place.data).decode()
        except (InvalidTag, ValueError):
            raise SealError("it was changed, or sealed for another place") from None

    def rewrap(self, sealed: str) -> str:
        """The same text under the secret that seals now; what is in it is not opened.

        Raises:
            SealError: its secret is not among those given.
            Unavailable: this installation has no secret.
        """
        kek_id, wrapped, body = _parts(sealed)
        if kek_id == self._current:
            return sealed
        again = self._wrap(self._unwrap(kek_id, wrapped))
        return f"{sealed_by(self._current)}{_text(again)}.{_text(body)}"

    def _wrap(self, data_key: bytes) -> bytes:
        if not self._current:
            raise Unavailable(
                "Secrets cannot be kept here: the operator has to set POINTSMAN_SECRET."
            )
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap  # noqa: PLC0415 - as above

        return aes_key_wrap(self._keys[self._current], data_key)

    def _unwrap(self, kek_id: str, wrapped: bytes) -> bytes:
        key = self._keys.get(kek_id)
        if key is None:
            raise SealError(
                f"it was sealed with secret {kek_id}, which is neither POINTSMAN_SECRET nor among "
                "POINTSMAN_SECRETS_BEFORE"
            )
        from cryptography.hazmat.primitives.keywrap import (  # noqa: PLC0415 - as above
            InvalidUnwrap,
            aes_key_unwrap,
        )

        try:
            return aes_key_unwrap(key, wrapped)
        except InvalidUnwrap:
            raise SealError("it was changed") from None


def sealed_by(kek_id: str) -> str:
    """How every text begins that was sealed with this secret."""
    return f"{_VERSION}.{kek_id}."


def new_secret() -> str:
    """A secret as `POINTSMAN_SECRET` takes it."""
    return _text(secrets.token_bytes(SECRET_BYTES))


def secret_of(settings: Settings) -> bytes:
    """What `POINTSMAN_SECRET` holds; b"" when it is not set.

    Raises:
        ConfigError: it is no secret.
    """
    text = settings.secret.get_secret_value().strip()
    return _secret(text, "POINTSMAN_SECRET") if text else b""


def subkey(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose: whoever learns it learns neither the secret nor its other keys."""
    return hmac.digest(secret, f"pointsman {_VERSION} {purpose}".encode(), "sha256")


def _earlier(settings: Settings) -> tuple[bytes, ...]:
    name = "POINTSMAN_SECRETS_BEFORE"
    texts = [one.strip() for one in settings.secrets_before.get_secret_value().split(",")]
    found = tuple(_secret(one, name) for one in texts if one)
    if len(found) > EARLIER_MAX:
        problem = f"has more than {EARLIER_MAX} secrets."
        hint = (
            "Seal anew with `pointsman secrets reseal`, then leave out what nothing needs any more."
        )
        raise ConfigError((ConfigProblem(name, problem, hint),))
    return found


def _secret(text: str, name: str) -> bytes:
    try:
        # Either alphabet, with or without padding: as openssl and Python write it.
        data = base64.b64decode(text.translate(_URL_SAFE).rstrip("=") + "=", b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != SECRET_BYTES:
        problem = f"must be {SECRET_BYTES} random bytes as base64."
        raise ConfigError((ConfigProblem(name, problem, "Make one: `openssl rand -base64 32`."),))
    return data


def _id(secret: bytes) -> str:
    return subkey(secret, "id")[:_ID_BYTES].hex()


def _parts(sealed: str) -> tuple[str, bytes, bytes]:
    parts = sealed.split(".", _PARTS)
    if len(parts) != _PARTS or parts[0] != _VERSION:
        raise SealError("it is not sealed in a form this release knows")
    try:
        wrapped, body = (_bytes(part) for part in parts[2:])
    except (binascii.Error, ValueError):
        raise SealError("it was changed") from None
    if len(body) <= _NONCE_BYTES:
        raise SealError("it was changed")
    return parts[1], wrapped, body


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
