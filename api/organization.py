"""`/organization/members`: who belongs to the organisation of a management key."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api.office import Office
from billing import accounts, members
from billing.members import MEMBERS_MAX, Member
from routing.errors import BadRequest, NotFound
from routing.wire.account import KeyRecord

#: Members of one answer, as in the contract.
PAGE_DEFAULT = 50
PAGE_MAX = 100
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
#: Clients write an absent number as null.
_ABSENT = frozenset({"", "null"})


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """The route; the caller adds the base path.

    Args:
        office: where members are read.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("organization", __name__)

    @routes.get("/organization/members")
    def listed() -> ResponseReturnValue:
        account_id = authenticate().account_id
        offset = _number("offset", 0, least=0, most=MEMBERS_MAX)
        limit = _number("limit", PAGE_DEFAULT, least=1, most=PAGE_MAX)
        account = office.do(lambda ledger: accounts.get(ledger, account_id))
        if account is None or account.kind != "organization":
            raise NotFound("This key is of a personal account, not of an organization")
        found, total = office.do(
            lambda ledger: members.members_of(ledger, account_id, offset=offset, limit=limit)
        )
        return jsonify({"data": [member_body(one) for one in found], "total_count": total})

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


def _number(name: str, default: int, *, least: int, most: int) -> int:
    text = request.args.get(name, "")
    if text in _ABSENT:
        return default
    if _NUMBER.fullmatch(text) is None or not least <= int(text) <= most:
        raise BadRequest(f"{name}: must be a whole number from {least} to {most:,}", param=name)
    return int(text)
