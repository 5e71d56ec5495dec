"""Passwords, kept as Argon2id hashes. Hashing takes tens of milliseconds: not on an event loop."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from routing.errors import BadRequest

#: A password is all that protects a person here, so it is long.
LENGTH_MIN = 12
LENGTH_MAX = 256
#: OWASP's least for Argon2id: 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(text: str) -> str:
    """What is kept of a password.

    Raises:
        BadRequest: too short or too long.
    """
    if not LENGTH_MIN <= len(text) <= LENGTH_MAX or not text.strip():
        raise BadRequest(
            f"A password must have {LENGTH_MIN} to {LENGTH_MAX} characters", param="password"
        )
    return _HASHER.hash(text.encode(errors="surrogatepass"))


def is_password(text: str, kept: str | None) -> bool:
    """Whether it is the one that was hashed; takes as long where none was kept."""
    if len(text) > LENGTH_MAX:
        return False
    try:
        _HASHER.verify(kept or _nobodys(), text.encode(errors="surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether it was hashed with weaker settings than those of today."""
    return _HASHER.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody has this password")
