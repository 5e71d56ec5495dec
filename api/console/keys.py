"""`/account/keys`: the keys of an account; members see and change those they made."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

from flask import Blueprint, Response, request

from api.amounts import typed_nano
from api.console.session import Sessions, page, see
from api.office import Office
from billing import key_changes, key_list
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.key_list import KeyEntry
from billing.sessions import Visit
from routing.budgets import MS_PER_DAY, LimitReset
from routing.errors import BadRequest, Forbidden

KEYS = "/account/keys"
#: Lives a key can be given, in days; "" for no end.
LIVES = ("", "1", "7", "30", "90", "365")
_RESETS: tuple[LimitReset, ...] = get_args(LimitReset)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


def blueprint(office: Office, sessions: Sessions) -> Blueprint:
    """The pages; they belong to the root of the site, not to a base path."""
    routes = sessions.pages("console_keys")

    def listed(text: str = "") -> Response:
        visit, now_ms = sessions.required(), office.clock.now_ms()
        return page(
            "keys.html",
            keys=office.do(lambda ledger: _shown(ledger, visit, now_ms)),
            now_ms=now_ms,
            text=text,
            resets=_RESETS,
            lives=LIVES,
        )

    @routes.get(KEYS)
    def ask() -> Response:
        return listed()

    @routes.post(KEYS)
    def made() -> Response:
        visit, now_ms = sessions.required(), office.clock.now_ms()
        terms = _terms(visit, now_ms)
        text, _ = office.do(
            lambda ledger: key_changes.make(ledger, visit.account_id, terms, now_ms)
        )
        return listed(text)

    @routes.post("/account/keys/disabled")
    def switched() -> Response:
        visit, now_ms = sessions.required(), office.clock.now_ms()
        key_hash, disabled = request.form.get("key", ""), request.form.get("disabled") == "yes"
        office.do(lambda ledger: _mine(ledger, visit, key_hash, now_ms))
        done = office.change_keys(
            (key_hash,),
            lambda ledger: key_changes.change(
                ledger, None, key_hash, lambda terms: replace(terms, disabled=disabled), now_ms
            ),
        )
        if done.budget is not None:
            office.post(done.budget)
        return see(KEYS)

    @routes.post("/account/keys/delete")
    def deleted() -> Response:
        visit, now_ms = sessions.required(), office.clock.now_ms()
        key_hash = request.form.get("key", "")
        office.do(lambda ledger: _mine(ledger, visit, key_hash, now_ms))
        office.change_keys(
            (key_hash,), lambda ledger: key_changes.delete(ledger, None, key_hash, now_ms)
        )
        return see(KEYS)

    return routes


def _shown(ledger: Ledger, visit: Visit, now_ms: int) -> tuple[KeyEntry, ...]:
    """The newest of those the visitor may see."""
    maker = None if visit.role == "admin" else visit.user.id
    return key_list.newest(ledger, visit.account_id, now_ms, maker=maker)


def _mine(ledger: Ledger, visit: Visit, key_hash: str, now_ms: int) -> KeyEntry:
    """A key the visitor may change; to them there are no others.

    Raises:
        NotFound: not one of them.
    """
    known = _HASH.fullmatch(key_hash) is not None
    entry = key_list.entry_of(ledger, None, key_hash, now_ms) if known else None
    if entry is None or entry.account_id != visit.account_id:
        raise key_changes.not_found(key_hash)
    own = entry.terms.creator_user_id == visit.user.id and entry.terms.kind == "inference"
    if visit.role != "admin" and not own:
        raise key_changes.not_found(key_hash)
    return entry


def _terms(visit: Visit, now_ms: int) -> KeyTerms:
    """What the form wants of a new key."""
    form = request.form
    reset, life = form.get("limit_reset", ""), form.get("days", "")
    if life not in LIVES:
        raise BadRequest("The key cannot have such a life", param="days")
    manages = form.get("kind") == "management"
    if manages and visit.role != "admin":
        raise Forbidden("Only admins of this organization can do this.")
    return KeyTerms(
        name=form.get("name", "").strip(),
        kind="management" if manages else "inference",
        limit_nano=typed_nano(form.get("limit", ""), "limit"),
        limit_reset=next((known for known in _RESETS if known == reset), None),
        expires_ms=now_ms + int(life) * MS_PER_DAY if life else None,
        creator_user_id=visit.user.id,
    )
