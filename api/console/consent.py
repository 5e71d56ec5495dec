"""`/auth`: an application asks a person for a key; the page on which they say yes or no."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from api.amounts import typed_nano
from api.console.session import HOME, Sessions, let_form_go_to, page, see
from api.office import Office
from billing import oauth
from billing.members import memberships_of
from billing.oauth import CODE_LIFE_MS, LABEL_MAX, CodeTerms
from billing.pkce import (
    ANY_PKCE,
    Callback,
    Challenge,
    PkceRules,
    read_callback,
    read_challenge,
)
from billing.sessions import Visit
from routing.budgets import MS_PER_DAY, LimitReset
from routing.errors import BadRequest

#: Lives a key can be given, in days; "" for no end.
LIVES = ("", "1", "7", "30", "90", "365")
_RESETS: tuple[LimitReset, ...] = get_args(LimitReset)
#: What the application asked for; the form hands it on.
_ASKED = ("callback_url", "code_challenge", "code_challenge_method")
_MS_PER_MINUTE = 60_000


def blueprint(office: Office, sessions: Sessions, rules: PkceRules = ANY_PKCE) -> Blueprint:
    """The page at `/auth`; it belongs to the root of the site, not to a base path."""
    routes = sessions.pages("consent")

    @routes.get("/auth")
    def asked() -> Response:
        # Checked before anyone logs in: a bad address is told at once, and never gone to.
        callback, challenge = _application(request.args, rules)
        visit = sessions.required()
        if callback is not None:
            let_form_go_to(callback.origin)
        return page(
            "consent.html",
            callback=callback,
            protected=challenge is not None and challenge.method == "S256",
            asked=[(name, request.args[name]) for name in _ASKED if name in request.args],
            key_label=request.args.get("key_label", "")[:LABEL_MAX],
            label_max=LABEL_MAX,
            accounts=office.do(lambda ledger: memberships_of(ledger, visit.user.id)),
            account_id=visit.account_id,
            resets=_RESETS,
            lives=LIVES,
        )

    @routes.post("/auth")
    def answered() -> Response:
        callback, challenge = _application(request.form, rules)
        visit = sessions.required()
        if callback is not None:
            let_form_go_to(callback.origin)
        if request.form.get("answer") != "yes":
            return see(HOME if callback is None else callback.refused())
        now_ms = office.clock.now_ms()
        terms = CodeTerms(callback=callback, challenge=challenge, **_wishes(visit, now_ms))
        code = office.do(lambda ledger: oauth.issue(ledger, terms, now_ms))
        if callback is None:
            return page("code.html", code=code.text, minutes=CODE_LIFE_MS // _MS_PER_MINUTE)
        return see(callback.with_code(code.text))

    return routes


def _application(
    fields: MultiDict[str, str], rules: PkceRules
) -> tuple[Callback | None, Challenge | None]:
    """Where the code goes, None for the screen, and what its exchange has to prove."""
    for name in _ASKED:
        # Two readers of one address could each see another of them.
        if len(fields.getlist(name)) > 1:
            raise BadRequest(f"{name} must be given once", param=name)
    url, challenge, method = (fields.get(name) for name in _ASKED)
    callback = read_callback(url) if url else None
    proof = read_challenge(challenge, method)
    if callback is None and proof is None:
        raise BadRequest("Give a callback_url, or a code_challenge to have the code shown here.")
    rules.check(callback, proof)
    return callback, proof


def _wishes(visit: Visit, now_ms: int) -> dict[str, Any]:
    """What the person chose for the key."""
    form = request.form
    reset, life = form.get("limit_reset", ""), form.get("days", "")
    if life not in LIVES:
        raise BadRequest("The key cannot have such a life", param="days")
    return {
        # That they belong to it is checked where the code is made.
        "account_id": form.get("account_id") or visit.account_id,
        "user_id": visit.user.id,
        "key_label": form.get("key_label", "").strip(),
        "limit_nano": typed_nano(form.get("limit", ""), "limit"),
        "limit_reset": next((known for known in _RESETS if known == reset), None),
        "key_expires_ms": now_ms + int(life) * MS_PER_DAY if life else None,
    }
