"""`/account/organizations` and `/account/members`: people who work on one account."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from api.console.session import HOME, Sessions, page, see
from api.office import Office
from billing import members, people
from billing.members import MEMBERS_MAX
from billing.people import LIST_MAX, Role
from billing.sessions import Visit
from routing.errors import BadRequest, Forbidden, NotFound

MEMBERS = "/account/members"
_PAGE = re.compile(r"[0-9]{1,5}", re.ASCII)
_ROLES: dict[str, Role] = {"admin": "admin", "member": "member"}


def blueprint(office: Office, sessions: Sessions) -> Blueprint:
    """The pages; they belong to the root of the site, not to a base path."""
    routes = sessions.pages("organizations")

    @routes.post("/account/organizations")
    def opened() -> Response:
        visit = sessions.required()
        name, now_ms = request.form.get("name", "").strip(), office.clock.now_ms()
        account = office.do(
            lambda ledger: members.create_organization(ledger, name, visit.user.id, now_ms)
        )
        sessions.switch(account.id)
        return see(MEMBERS)

    @routes.get("/account/members")
    def listed() -> Response:
        visit = _of_organization(sessions.required())
        text = request.args.get("page", "1")
        number = int(text) if _PAGE.fullmatch(text) else 1
        offset = min(max(number - 1, 0) * LIST_MAX, MEMBERS_MAX)
        found, total = office.do(
            lambda ledger: members.members_of(ledger, visit.account_id, offset=offset)
        )
        return page(
            "members.html",
            members=found,
            total=total,
            number=offset // LIST_MAX + 1,
            more=offset + LIST_MAX < total,
        )

    @routes.post("/account/members")
    def added() -> Response:
        visit = _of_organization(sessions.admin())
        email, role = request.form.get("email", ""), _role()
        user = office.do(lambda ledger: people.user_by_email(ledger, email))
        if user is None:
            raise NotFound("Nobody can log in here with this address yet. Ask the operator.")
        now_ms = office.clock.now_ms()
        office.do(
            lambda ledger: members.add_member(ledger, visit.account_id, user.id, role, now_ms)
        )
        return see(MEMBERS)

    @routes.post("/account/members/role")
    def changed() -> Response:
        visit = _of_organization(sessions.admin())
        user_id, role = request.form.get("user_id", ""), _role()
        now_ms = office.clock.now_ms()
        office.change_keys_of(
            visit.account_id,
            user_id,
            lambda ledger: members.change_role(ledger, visit.account_id, user_id, role, now_ms),
        )
        return see(MEMBERS)

    @routes.post("/account/members/remove")
    def removed() -> Response:
        visit = _of_organization(sessions.required())
        user_id, now_ms = request.form.get("user_id", ""), office.clock.now_ms()
        leaves = user_id == visit.user.id
        if visit.role != "admin" and not leaves:
            raise Forbidden("Only admins of this organization can do this.")
        office.change_keys_of(
            visit.account_id,
            user_id,
            lambda ledger: members.remove_member(ledger, visit.account_id, user_id, now_ms),
        )
        if not leaves:
            return see(MEMBERS)
        sessions.begin(user_id)
        return see(HOME)

    return routes


def _of_organization(visit: Visit) -> Visit:
    if visit.account_kind != "organization":
        raise NotFound("A personal account has no members. Open an organization first.")
    return visit


def _role() -> Role:
    role = _ROLES.get(request.form.get("role", ""))
    if role is None:
        raise BadRequest("The role must be admin or member", param="role")
    return role
