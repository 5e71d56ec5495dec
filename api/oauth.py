"""`/auth/keys`: an application turns the code a customer gave it into a key of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from api.amounts import iso, moment_ms, nano_of
from api.keys import workspace_of
from api.office import Office
from api.small_body import sent_as
from billing import api_keys, oauth
from billing.oauth import LABEL_MAX, CodeTerms, Proof, UsedTwice
from billing.pkce import (
    ANY_PKCE,
    VERIFIER_MAX,
    PkceRules,
    read_callback,
    read_challenge,
    read_method,
)
from routing.errors import BadRequest, Forbidden
from routing.wire.account import KeyRecord
from routing.wire.validate import NO_NUL, Wire

#: Longest code read; ours are shorter.
CODE_MAX = 512


class _Exchange(Wire):
    code: Annotated[str, Field(min_length=1, max_length=CODE_MAX)]
    code_verifier: Annotated[str, Field(max_length=VERIFIER_MAX)] | None = None
    code_challenge_method: str | None = None


class _Wanted(Wire):
    callback_url: str
    code_challenge: str | None = None
    code_challenge_method: str | None = None
    limit: float | None = None
    usage_limit_type: Literal["daily", "weekly", "monthly"] | None = None
    expires_at: str | None = None
    key_label: Annotated[str, Field(max_length=LABEL_MAX, pattern=NO_NUL)] | None = None
    workspace_id: str | None = None


Body = TypeVar("Body", bound=Wire)


def blueprint(
    office: Office, authenticate: Callable[[], KeyRecord], rules: PkceRules = ANY_PKCE
) -> Blueprint:
    """Routes of `/auth/keys`; the caller adds the base path.

    Args:
        office: where codes and keys are made.
        authenticate: the key of the current request, of either kind, or raises.
        rules: what the operator asks of applications.
    """
    routes = Blueprint("oauth", __name__)

    @routes.post("/auth/keys", strict_slashes=False)
    def exchanged() -> ResponseReturnValue:
        # No key is asked for: whoever holds the code and its verifier is meant.
        asked = sent_as(_Exchange)
        now_ms = office.clock.now_ms()
        proof = _proof(asked, rules)
        done = office.do(lambda ledger: oauth.exchange(ledger, asked.code, proof, now_ms, rules))
        if isinstance(done, UsedTwice):
            _shut(office, done.key_hash, now_ms)
            raise Forbidden(oauth.INVALID)
        return _unkept(jsonify({"key": done.text, "user_id": done.user_id}))

    @routes.post("/auth/keys/code", strict_slashes=False)
    def issued() -> ResponseReturnValue:
        key = authenticate()
        if key.kind != "management":
            # One that infers makes no others: shut because it leaked, it would live on in them.
            raise Forbidden("Only management keys can perform this operation")
        terms = _terms(sent_as(_Wanted), key)
        rules.check(terms.callback, terms.challenge)
        code = office.do(lambda ledger: oauth.issue(ledger, terms, office.clock.now_ms()))
        told = {"id": code.text, "app_id": code.app_id, "created_at": iso(code.created_ms)}
        return _unkept(jsonify({"data": told}))

    return routes


def _proof(asked: _Exchange, rules: PkceRules) -> Proof:
    method, verifier = read_method(asked.code_challenge_method), asked.code_verifier or None
    if method is not None:
        rules.check_method(method)
    if rules.s256_only and verifier is None:
        raise BadRequest("A code_verifier is required here", param="code_verifier")
    return Proof(verifier=verifier, method=method)


def _terms(wanted: _Wanted, key: KeyRecord) -> CodeTerms:
    if wanted.workspace_id and wanted.workspace_id.lower() != workspace_of(key.account_id):
        raise BadRequest("workspace_id: this account has no such workspace", param="workspace_id")
    title = request.headers.get("X-OpenRouter-Title") or request.headers.get("X-Title")
    return CodeTerms(
        account_id=key.account_id,
        # Whose budgets the new key draws on: those of whoever made the one that asks.
        user_id=key.creator_user_id or None,
        callback=read_callback(wanted.callback_url),
        challenge=read_challenge(wanted.code_challenge, wanted.code_challenge_method),
        key_label=wanted.key_label or "",
        app_title=title or "",
        limit_nano=None if wanted.limit is None else nano_of(wanted.limit),
        limit_reset=wanted.usage_limit_type,
        key_expires_ms=_end(wanted.expires_at),
    )


def _end(expires_at: str | None) -> int | None:
    return None if expires_at is None else moment_ms(expires_at, "expires_at")


def _shut(office: Office, key_hash: str, now_ms: int) -> None:
    office.change_keys((key_hash,), lambda ledger: api_keys.disable(ledger, key_hash, now_ms))


def _unkept(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
