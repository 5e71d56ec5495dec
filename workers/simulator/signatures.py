"""Signatures of thoughts: what a provider gives out with them and checks when they come back."""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from hashlib import blake2b
from typing import Final

# No secret: it only has to differ from what a client could make up by accident.
_KEY: Final = b"simulator"
_BYTES: Final = 48


def sign(text: str) -> str:
    """Return the signature of a text."""
    return b64encode(_mac(text)).decode()


def is_signed(text: str, signature: object) -> bool:
    """Whether a signature is that of the text."""
    return isinstance(signature, str) and hmac.compare_digest(
        sign(text).encode(), signature.encode()
    )


def seal(text: str) -> str:
    """Return a text in a form that looks encrypted and can be opened again."""
    return b64encode(_mac(text) + text.encode()).decode()


def unseal(sealed: object) -> str | None:
    """Return the text of a sealed one; None when it was not sealed here or was changed."""
    if not isinstance(sealed, str):
        return None
    try:
        data = b64decode(sealed, validate=True)
        text = data[_BYTES:].decode()
    except (NotBase64, UnicodeDecodeError):
        return None
    return text if hmac.compare_digest(_mac(text), data[:_BYTES]) else None


def _mac(text: str) -> bytes:
    return blake2b(text.encode(), key=_KEY, digest_size=_BYTES).digest()
