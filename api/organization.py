"""`/organization/members`: who belongs to the organisation of a management key.

Listing is the contract's; adding, changing and removing members is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field

from api.office import Office
from api.small_body import sent_as
from billing import accounts, members, people
from billing.db import Ledger
from billing.members import MEMBERS_MAX, Member
from billing.people import EMAIL_MAX, Role
from routing.errors import BadRequest, NotFound
from routing.wire.account import KeyRecord
from routing.wire.validate import NO_NUL, Wire

#: Members of one answer, as in the contract.
PAGE_DEFAULT = 50
PAGE_MAX = 100
_ID = re.compile(r"user_[0-9A-Za-z]{27}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
#: Clients write an absent number as null.
_ABSENT = frozenset({"", "null"})
_ROLES: dict[str, Role] = {"org:admin": "admin", "org:member": "member"}


class _Strict(Wire):
    """Passes nothing on, so a field nobody knows is a mistake."""

    model_config = ConfigDict(extra="forbid")


class _New(_Strict):
    email: Annotated[str, Field(min_length=1, max_length=EMAIL_MAX, pattern=NO_NUL)]
    role: Literal["org:admin", "org:member"] = "org:member"


class _Changed(_Strict):
    role: Literal["org:admin", "org:member"]


Body = TypeVar("Body", bound=Wire)


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """The routes; the caller adds the base path.

    Args:
        office: where members are read and changed.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("organization", __name__)

    @routes.get("/organization/members")
    def listed() -> ResponseReturnValue:
        account_id = _organization(office, authenticate())
        offset = _number("offset", 0, least=0, most=MEMBERS_MAX)
        limit = _number("limit", PAGE_DEFAULT, least=1, most=PAGE_MAX)
        found, total = office.do(
            lambda ledger: members.members_of(ledger, account_id, offset=offset, limit=limit)
        )
        return jsonify({"data": [member_body(one) for one in found], "total_count": total})

    @routes.post("/organization/members")
    def added() -> ResponseReturnValue:
        account_id = _organization(office, authenticate())
        wanted, now_ms = sent_as(_New), office.clock.now_ms()

        def add(ledger: Ledger) -> Member:
            user = people.user_by_email(ledger, wanted.email)
            if user is None:
                raise NotFound("Nobody can log in here with this address")
            members.add_member(ledger, account_id, user.id, _ROLES[wanted.role], now_ms)
            return Member(user=user, role=_ROLES[wanted.role], since_ms=now_ms)

        return jsonify({"data": member_body(office.do(add))}), 201

    @routes.patch("/organization/members/<user_id>")
    def changed(user_id: str) -> ResponseReturnValue:
        account_id = _organization(office, authenticate())
        role = _ROLES[sent_as(_Changed).role]
        _check_id(user_id)
        now_ms = office.clock.now_ms()

        def change(ledger: Ledger) -> Member:
            members.change_role(ledger, account_id, user_id, role, now_ms)
            found = members.member_of(ledger, account_id, user_id)
            if found is None:  # removed right after it
                raise NotFound("No such member")
            return found

        done = office.change_keys_of(account_id, user_id, change)
        return jsonify({"data": member_body(done)})

    @routes.delete("/organization/members/<user_id>")
    def removed(user_id: str) -> ResponseReturnValue:
        account_id = _organization(office, authenticate())
        _check_id(user_id)
        now_ms = office.clock.now_ms()
        office.change_keys_of(
            account_id,
            user_id,
            lambda ledger: members.remove_member(ledger, account_id, user_id, now_ms),
        )
        return jsonify({"deleted": True})

    return routes


def member_body(member: Member) -> dict[str, str | None]:
    """A member as the contract has it; names that are not known are null."""
    user = member.user
    return {
        "id": user.id,
        "email": user.email,
        "first_name": user.first_name or None,
        "last_name": user.last_name or None,
        "role": f"org:{member.role}",
    }


def _organization(office: Office, key: KeyRecord) -> str:
    """Id of the key's account, which has to be one that can have members."""
    account = office.do(lambda ledger: accounts.get(ledger, key.account_id))
    if account is None or account.kind != "organization":
        raise NotFound("This key is of a personal account, not of an organization")
    return account.id


def _check_id(user_id: str) -> None:
    if _ID.fullmatch(user_id) is None:  # no database need be asked
        raise NotFound("No such member")


def _number(name: str, default: int, *, least: int, most: int) -> int:
    text = request.args.get(name, "")
    if text in _ABSENT:
        return default
    if _NUMBER.fullmatch(text) is None or not least <= int(text) <= most:
        raise BadRequest(f"{name}: must be a whole number from {least} to {most:,}", param=name)
    return int(text)
