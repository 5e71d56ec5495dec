"""Bearer token → key. One hash and a dictionary on the hot path; SQL only for keys not seen lately.

this process, 1 s  →  Redis  →  SQL (read again after a minute; a revoked key is dropped at once)
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, replace

from billing import api_keys
from billing.db import Ledger
from routing.clock import Clock
from routing.errors import Forbidden, Unauthorized, Unavailable
from routing.store.budgets import KeyCache
from routing.wire.account import KeyRecord

#: A revoked or changed key takes effect on every front door within this.
LOCAL_TTL_S = 1.0
#: A cached key is compared with SQL after this; if SQL is away it goes on being used.
FRESH_MS = 60_000
#: Keys remembered per process; beyond it the memory starts anew.
LOCAL_MAX = 20_000
#: Longest header looked at: a key is 73 characters.
TOKEN_MAX = 512


@dataclass(frozen=True, slots=True)
class _Remembered:
    record: KeyRecord | None
    until_s: float


@dataclass(frozen=True, slots=True)
class _LookUp:
    """One under way, for a crowd that comes with the same key."""

    began_s: float
    found: Future[KeyRecord | None]


class Authenticator:
    """Turns request headers into the key they prove."""

    def __init__(self, ledger: Ledger, cache: KeyCache, clock: Clock) -> None:
        self._ledger = ledger
        self._cache = cache
        self._clock = clock
        self._local: dict[str, _Remembered] = {}
        self._pending: dict[str, _LookUp] = {}

    def key(self, authorization: str | None) -> KeyRecord:
        """The key behind an `Authorization` header, valid now.

        Raises:
            Unauthorized: no key, an unknown, disabled or expired one.
            Unavailable: it cannot be checked right now.
        """
        record = self._find(api_keys.hash_key(_token(authorization)))
        if record is None:
            raise Unauthorized("User not found.")
        if record.disabled:
            raise Unauthorized("This API key is disabled.")
        if record.expires_ms is not None and self._clock.now_ms() >= record.expires_ms:
            raise Unauthorized("This API key has expired.")
        return record

    def inference_key(self, authorization: str | None) -> KeyRecord:
        """As `key`, for endpoints that spend money.

        Raises:
            Forbidden: a management key; those manage, they do not infer.
        """
        record = self.key(authorization)
        if record.kind != "inference":
            raise Forbidden("Management keys cannot be used for inference. Use an inference key.")
        return record

    def management_key(self, authorization: str | None) -> KeyRecord:
        """As `key`, for endpoints that manage keys, members and money.

        Raises:
            Forbidden: an inference key.
        """
        record = self.key(authorization)
        if record.kind != "management":
            raise Forbidden("Only management keys can perform this operation")
        return record

    def _find(self, key_hash: str) -> KeyRecord | None:
        now_s = time.monotonic()
        remembered = self._local.get(key_hash)
        if remembered is not None and remembered.until_s > now_s:
            return remembered.record
        pending = self._pending.get(key_hash)
        if pending is not None and now_s - pending.began_s < LOCAL_TTL_S:
            return pending.found.result()
        return self._found_for_all(key_hash, now_s)

    def _found_for_all(self, key_hash: str, now_s: float) -> KeyRecord | None:
        """Look a key up once for a whole crowd that comes with it at the same moment."""
        look_up = self._pending[key_hash] = _LookUp(now_s, Future())
        pending = look_up.found
        try:
            record = self._look_up(key_hash)
        except BaseException as error:
            pending.set_exception(error)  # nobody may be left waiting
            raise
        finally:
            if self._pending.get(key_hash) is look_up:  # a slow one is replaced meanwhile
                del self._pending[key_hash]
        if len(self._local) >= LOCAL_MAX:
            self._local.clear()
        self._local[key_hash] = _Remembered(record, now_s + LOCAL_TTL_S)
        pending.set_result(record)
        return record

    def _look_up(self, key_hash: str) -> KeyRecord | None:
        known = self._cache.get(key_hash)
        cached = known.record
        now_ms = self._clock.now_ms()
        if cached is not None and now_ms - cached.fetched_ms < FRESH_MS:
            return cached
        try:
            record = api_keys.find(self._ledger, key_hash, now_ms)
        except Unavailable:
            if cached is None:
                raise
            return cached  # no valid key is told 401 because SQL is away
        if record is not None:
            self._cache.put(replace(record, fetched_ms=now_ms), known.mark)
        return record


def _token(authorization: str | None) -> str:
    if not authorization:
        raise Unauthorized("No auth credentials found")
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_MAX:
        raise Unauthorized(
            "No auth credentials found. Send your key as `Authorization: Bearer sk-or-v1-…`."
        )
    if not token.startswith(api_keys.PREFIX):
        raise Unauthorized("User not found.")  # no key of ours: nobody need be asked
    return token
