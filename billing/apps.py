"""Applications, by the origin they say they are of in `HTTP-Referer`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from billing.db import insert_rows
from billing.tables import apps
from routing.wire.job import Charge

#: Longest origin and title kept: names, not documents.
ORIGIN_MAX = 256
TITLE_MAX = 256


def origin_of(url: str | None) -> str | None:
    """`scheme://host[:port]` in lower case; None for what is no web address."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or "\x00" in host:
        return None
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return origin if len(origin) <= ORIGIN_MAX else None


def app_id(connection: Connection, origin: str, title: str, now_ms: int) -> int:
    """The id of one application; it is noted when it is first met, and keeps its first title."""
    return _ids(connection, {origin: title}, now_ms)[origin]


def app_ids(
    connection: Connection, charges: Sequence[Charge], now_ms: int
) -> dict[str | None, int | None]:
    """By the address each charge was sent from, the id of its application."""
    origins = {url: origin_of(url) for url in {charge.caller.app_url for charge in charges}}
    titles: dict[str, str] = {}
    for charge in charges:
        origin = origins[charge.caller.app_url]
        if origin is not None:
            titles.setdefault(origin, charge.caller.app_title or "")
    ids = _ids(connection, titles, now_ms) if titles else {}
    return {url: None if origin is None else ids[origin] for url, origin in origins.items()}


def _ids(connection: Connection, titles: dict[str, str], now_ms: int) -> dict[str, int]:
    """Read first: an id of a sequence is used up by every insert that clashes."""
    known = _known(connection, titles)
    fresh = sorted(titles.keys() - known.keys())
    if not fresh:
        return known
    rows = [
        {
            "origin": origin,
            "title": titles[origin][:TITLE_MAX].replace("\x00", "") or origin,
            "created_ms": now_ms,
        }
        for origin in fresh
    ]
    insert_rows(connection, apps, rows, unique=("origin",), returning=("id",))
    return _known(connection, titles)


def _known(connection: Connection, titles: dict[str, str]) -> dict[str, int]:
    found = connection.execute(
        select(apps.c.origin, apps.c.id).where(apps.c.origin.in_(sorted(titles)))
    )
    return {row.origin: row.id for row in found}
