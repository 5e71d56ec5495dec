"""What an account did and paid: `/activity`, `/generations`, and receipts and contents of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import structlog
from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from api.amounts import iso, moment_ms
from api.keys import check_workspace, workspace_of
from api.office import Office
from api.sheets import FORMATS, attachment, sheet
from billing import activity, contents, generations, receipts
from billing.activity import Day, Listed, Wanted
from billing.receipts import Entry, Line, Receipt
from routing.budgets import MS_PER_DAY, day_of
from routing.catalog.live import LiveCatalog
from routing.catalog.pricing import NANO_PER_USD, usd, usd_per_token
from routing.contents import place_of
from routing.errors import BadRequest, NotFound
from routing.ids import is_generation_id
from routing.sealing import Sealer, SealError
from routing.wire.account import KeyRecord

log = structlog.get_logger("pointsman.usage")

#: Days that `/activity` tells, all of them over.
DAYS = 30
#: Generations on a page: usual, most as JSON, most as CSV.
PAGE = 50
PAGE_MAX = 100
SHEET_MAX = activity.PAGE_MAX
#: Longest id or name in a query.
NAME_MAX = 256
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_COUNT = re.compile(r"\d{1,6}", re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()
_LISTED = frozenset(
    {
        "after", "before", "from", "limit", "model", "api_key_hash", "user_id", "session_id",
        "format",
    }
)  # fmt: skip
_ACTIVITY = frozenset({"date", "api_key_hash", "user_id", "workspace_id", "group_by", "format"})

Authenticate = Callable[[], KeyRecord]


def blueprint(
    office: Office,
    catalog: LiveCatalog,
    sealer: Sealer,
    authenticate: Authenticate,
    manage: Authenticate,
) -> Blueprint:
    """Routes `/activity`, `/generations`, `/generation/receipt` and `/generation/content`.

    Args:
        office: where the ledger is read.
        catalog: dated names of models.
        sealer: opens contents.
        authenticate: the key of the current request, or raises.
        manage: the same of a management key.
    """
    routes = Blueprint("usage", __name__)

    @routes.get("/activity")
    def activity_of_days() -> ResponseReturnValue:
        return _activity(office, catalog, manage())

    @routes.get("/generations")
    def listed() -> ResponseReturnValue:
        return _generations(office, manage())

    @routes.get("/generation/receipt")
    def receipt() -> ResponseReturnValue:
        record = authenticate()
        wanted = _wanted_id()
        found = office.do(lambda ledger: receipts.receipt_of(ledger, wanted, record.account_id))
        if found is None:
            raise NotFound("Generation not found")
        return jsonify({"data": receipt_body(found, found.entries_of(record.account_id))})

    @routes.get("/generation/content")
    def content() -> ResponseReturnValue:
        record = authenticate()
        return _content(office, sealer, record, _wanted_id())

    return routes


def receipt_body(found: Receipt, entries: tuple[Entry, ...]) -> dict[str, Any]:
    """A receipt in exact decimal strings, with those entries of its transaction."""
    made = found.generation
    return {
        "id": made.id,
        "account_id": made.account_id,
        "currency": "USD",
        "created_at": iso(made.created_ms),
        "settled_at": iso(made.settled_ms),
        "model": made.model_id,
        "provider_name": made.provider or None,
        "endpoint_id": made.endpoint_id or None,
        "outcome": made.outcome,
        "is_byok": made.byok,
        "insured": made.insured,
        "estimated": made.usage.estimated,
        "flags": list(made.flags),
        "price_since": iso(made.price.from_ms) if made.price.from_ms else None,
        "lines": [_line(line) for line in found.lines],
        "rounding": usd_per_token(found.rounding_pico),
        "list_price": exact(found.list_nano),
        "discount": exact(made.discount_nano),
        "byok_fee": exact(made.fee_nano),
        "total": exact(made.cost_nano),
        "refunded": exact(found.refunded_nano),
        "ledger": [_entry(one) for one in entries],
        "adds_up": found.adds_up,
    }


def exact(nano: int) -> str:
    """Dollars in all their digits."""
    amount = Decimal(nano) / NANO_PER_USD
    return f"{amount:f}"


def _line(line: Line) -> dict[str, Any]:
    return {
        "item": line.item,
        "quantity": line.quantity,
        "price": usd_per_token(line.rate_pico),
        "amount": usd_per_token(line.amount_pico),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "transaction": entry.transaction_id,
        "kind": entry.kind,
        "account": entry.ledger_account_id,
        "amount": exact(entry.amount_nano),
        "booked_at": iso(entry.booked_ms),
    }


def _activity(office: Office, catalog: LiveCatalog, manager: KeyRecord) -> ResponseReturnValue:
    args = _args(_ACTIVITY)
    key_hash, user_id = _key_hash(args), _name(args, "user_id")
    workspace = _workspace(args, manager.account_id)
    as_csv = _as_csv(args)
    days = _days(args.get("date"), office.clock.now_ms())
    found = office.do(
        lambda ledger: activity.days_of(ledger, manager.account_id, days, key_hash, user_id)
    )
    models = catalog.current.models
    rows = []
    for one in found:
        model = models.get(one.model_id)
        slug = one.model_id if model is None else model.canonical_slug
        rows.append(_day(one, slug) | workspace)
    if as_csv:
        return attachment(sheet([*_DAY_HEADS, *workspace], rows), "activity.csv")
    return jsonify({"data": rows})


def _day(one: Day, slug: str) -> dict[str, Any]:
    return {
        "date": date.fromordinal(one.day + _EPOCH).isoformat(),
        "model": one.model_id,
        "model_permaslug": slug,
        "endpoint_id": one.endpoint_id,
        "provider_name": one.provider,
        "usage": usd(one.usage_nano),
        "byok_usage_inference": usd(one.byok_usage_nano),
        "requests": one.requests,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "reasoning_tokens": one.reasoning_tokens,
        "cached_tokens": one.cached_tokens,
    }


def _generations(office: Office, manager: KeyRecord) -> ResponseReturnValue:
    args = _args(_LISTED)
    as_csv = _as_csv(args)
    size = _size(args.get("limit"), *((SHEET_MAX, SHEET_MAX) if as_csv else (PAGE, PAGE_MAX)))
    after = args.get("after")
    if after is not None and not is_generation_id(after):
        raise BadRequest("after: must be the id of one of your generations", param="after")
    wanted = Wanted(
        account_id=manager.account_id,
        start_ms=_moment(args, "from") or 0,
        end_ms=_moment(args, "before"),
        key_hash=_key_hash(args),
        user_id=_name(args, "user_id"),
        model_id=_name(args, "model"),
        session_id=_name(args, "session_id"),
        after=after,
    )
    page = office.do(lambda ledger: activity.page_of(ledger, wanted, size))
    more = None
    if page.after is not None:
        more = f"{request.path}?{urlencode(dict(args) | {'after': page.after})}"
    rows = [_listed(one) for one in page.rows]
    response: Response = (
        attachment(sheet(_LISTED_HEADS, rows), "generations.csv")
        if as_csv
        else jsonify({"data": rows, "links": {"next": more}})
    )
    if more is not None:
        response.headers["Link"] = f'<{more}>; rel="next"'
    return response


def _listed(one: Listed) -> dict[str, Any]:
    return {
        "id": one.id,
        "created_at": iso(one.created_ms),
        "model": one.model_id,
        "provider_name": one.provider or None,
        "endpoint_id": one.endpoint_id or None,
        "usage": usd(one.cost_nano),
        "upstream_inference_cost": usd(one.upstream_cost_nano) if one.byok else None,
        "is_byok": one.byok,
        "tokens_prompt": one.prompt_tokens,
        "tokens_completion": one.completion_tokens,
        "native_tokens_reasoning": one.reasoning_tokens,
        "native_tokens_cached": one.cached_tokens,
        "api_type": "embeddings" if one.api == "embeddings" else "completions",
        "streamed": one.stream,
        "cancelled": one.outcome == "cancelled",
        "insured": one.insured,
        "finish_reason": one.finish_reason,
        "latency": one.latency_ms,
        "generation_time": one.generation_ms,
        "api_key_hash": one.key_hash,
        "user_id": one.user_id,
        "app_id": one.app_id,
        "app_title": one.app_title,
        "external_user": one.external_user,
        "session_id": one.session_id,
        "request_id": one.request_id or None,
    }


def _nothing(fields: Iterable[str]) -> dict[str, Any]:
    return dict.fromkeys(fields, 0)


_DAY_HEADS = tuple(_day(Day(**_nothing(Day.__dataclass_fields__)), ""))
_LISTED_HEADS = tuple(_listed(Listed(**_nothing(Listed.__dataclass_fields__))))


def _content(office: Office, sealer: Sealer, record: KeyRecord, wanted: str) -> ResponseReturnValue:
    """Prompts are shown to management keys, and to the key that sent them."""
    account_id = record.account_id
    made = office.do(lambda ledger: generations.find(ledger, wanted, account_id))
    if made is None or (record.kind != "management" and made.key_hash != record.key_hash):
        raise NotFound("Generation not found")
    sealed = office.do(lambda ledger: contents.sealed_of(ledger, wanted, account_id))
    if sealed is None:
        raise NotFound(
            "Nothing is kept of this generation. Prompts and answers are kept from when an account "
            "chooses so, for as long as the operator says."
        )
    try:
        text = office.aside(lambda: sealer.open(sealed, place_of(wanted, account_id)))
    except SealError as error:
        log.warning("content not opened", action="content.not_opened", id=wanted, why=str(error))
        raise NotFound("What is kept of this generation does not open any more.") from None
    response = Response(f'{{"data":{text}}}', mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _wanted_id() -> str:
    wanted = request.args.get("id", "")
    if not wanted:
        raise BadRequest("Give the generation as ?id=gen-...", param="id")
    if not is_generation_id(wanted):
        raise NotFound("Generation not found")
    return wanted


def _args(known: frozenset[str]) -> Mapping[str, str]:
    """The query, each name once; empty ones and the word null stand for nothing."""
    given = request.args
    for name in given:
        if name in known and len(given.getlist(name)) > 1:
            raise BadRequest(f"{name}: must be given once", param=name)
    return {
        name: value.strip()
        for name, value in given.items()
        if name in known and value.strip() not in {"", "null"}
    }


def _days(text: str | None, now_ms: int) -> range:
    """The days to tell: the last completed ones, or one of them."""
    today = day_of(now_ms)
    days = range(today - DAYS, today)
    if text is None:
        return days
    day = _day_of(text)
    if day is None:
        raise BadRequest("date: must be a UTC date, as 2025-12-31", param="date")
    if day not in days:
        raise BadRequest(f"date: must be within the last {DAYS} completed UTC days", param="date")
    return range(day, day + 1)


def _day_of(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _moment(args: Mapping[str, str], name: str) -> int | None:
    """A UTC date, meaning its first moment, or a moment."""
    text = args.get(name)
    if text is None:
        return None
    day = _day_of(text)
    return moment_ms(text, name) if day is None else day * MS_PER_DAY


def _key_hash(args: Mapping[str, str]) -> str | None:
    text = args.get("api_key_hash")
    if text is not None and not _HASH.fullmatch(text):
        raise BadRequest("api_key_hash: must be the hash of a key", param="api_key_hash")
    return text


def _name(args: Mapping[str, str], name: str) -> str | None:
    text = args.get(name)
    if text is not None and (len(text) > NAME_MAX or "\x00" in text):
        raise BadRequest(f"{name}: must be a name of {NAME_MAX} characters or fewer", param=name)
    return text


def _workspace(args: Mapping[str, str], account_id: str) -> dict[str, str]:
    """What rows are told of their workspace; an account has one."""
    own = workspace_of(account_id)
    check_workspace(args.get("workspace_id"), account_id)
    if args.get("group_by", "workspace") != "workspace":
        raise BadRequest("group_by: must be workspace", param="group_by")
    return {"workspace_id": own} if "group_by" in args else {}


def _as_csv(args: Mapping[str, str]) -> bool:
    """By the query, else by what the client accepts."""
    wanted = args.get("format")
    if wanted is None:
        best = request.accept_mimetypes.best_match(["application/json", "text/csv"])
        return best == "text/csv"
    if wanted not in FORMATS:
        raise BadRequest("format: must be json or csv", param="format")
    return wanted == "csv"


def _size(text: str | None, usual: int, most: int) -> int:
    if text is None:
        return usual
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadRequest(f"limit: must be a whole number from 1 to {most}", param="limit")
    return int(text)
