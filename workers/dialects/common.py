"""What several dialects need: reading JSON as providers send it, parts, texts, errors by status."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from routing.catalog.shapes import Endpoint
from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from routing.wire.chat import ChatRequest
from routing.wire.messages import CacheControl, Content, Message, Part, RefusalPart, TextPart
from workers.dialects.refusals import kind_of
from workers.dialects.retry_after import retry_after_ms

#: A number of a vector in base64: 32 bits.
FLOAT_BYTES = 4
#: A provider's own words are kept for the caller, but not by the megabyte.
RAW_MAX_CHARS = 2_000
#: What a caller reads when a provider said nothing that can be read.
UNKNOWN_ERROR = "Provider returned error"
#: Where arguments go that are no JSON object, so that the model sees its own mistake.
UNREADABLE_ARGUMENTS = "unreadable_arguments"
#: What stands in for a text where a provider refuses empty ones and something must stand.
BLANK = "."
#: Hex characters of a hashed user id.
USER_HASH_CHARS = 32

#: Levels of a provider's request around the arguments of a call.
_DEPTH_AROUND = 16
_OVERLOADED = 529
STATUS_REJECTED = frozenset({400, 413, 422})
#: 404 too: the model is not there for our account, which another provider may well serve.
STATUS_DENIED = frozenset({401, 402, 403, 404})
STATUS_LIMITED = frozenset({429, _OVERLOADED})
#: Parameters that belong to another one in an endpoint's list.
_LISTED_AS = {"parallel_tool_calls": "tools", "top_logprobs": "logprobs"}
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_DATA_URL = re.compile(r"data:([^;,\s]+)(?:;[^;,\s]+)*;base64,", re.IGNORECASE)


def loads(data: bytes) -> Any:
    """JSON as providers send it: invalid UTF-8 and lone surrogates become U+FFFD.

    Raises:
        UpstreamDown: not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace").encode()
        try:
            return orjson.loads(_LONE_SURROGATE.sub(rb"\\ufffd", text))
        except orjson.JSONDecodeError as error:
            raise UpstreamDown("Provider sent something that is not JSON", raw=cut(data)) from error


def load_object(data: bytes) -> dict[str, Any]:
    """As `loads`, for what must be an object.

    Raises:
        UpstreamDown: it is not.
    """
    found = loads(data)
    if not isinstance(found, dict):
        raise UpstreamDown("Provider sent something that is not an object", raw=cut(data))
    return found


def cut(body: bytes) -> str:
    """A provider's words, readable and bounded."""
    return body[: RAW_MAX_CHARS * 4].decode("utf-8", "replace")[:RAW_MAX_CHARS]


def text_or_none(value: object) -> str | None:
    """A string, or None for anything else."""
    return value if isinstance(value, str) else None


def text_or_empty(value: object) -> str:
    """A string, or "" for anything else."""
    return value if isinstance(value, str) else ""


def dict_or_empty(value: object) -> dict[str, Any]:
    """An object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> Iterator[dict[str, Any]]:
    """The objects of an array; nothing for anything else."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def index_or_zero(value: object) -> int:
    """A place in a list, or 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def is_packed(value: object) -> bool:
    """Whether a vector is 32-bit floats in base64."""
    try:
        packed = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except ValueError:
        return False
    return len(packed) > 0 and len(packed) % FLOAT_BYTES == 0


def dumped(value: object) -> str:
    """Compact JSON, for what goes on as text.

    Raises:
        UpstreamDown: nested too deeply; orjson reads deeper nesting than it writes.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise UpstreamDown("Provider sent fields nested too deeply") from error


def data_url(url: str) -> tuple[str, str] | None:
    """MIME type (lower case) and base64 of a data URL; None for any other URL."""
    found = _DATA_URL.match(url)
    return None if found is None else (found[1].lower(), url[found.end() :])


def parse_arguments(text: str) -> dict[str, Any]:
    """Arguments of a replayed tool call; what is no JSON object is kept under one name."""
    if not text.strip():
        return {}
    try:
        found = orjson.loads(text)
        padded: object = found
        for _ in range(_DEPTH_AROUND):
            padded = (padded,)
        orjson.dumps(padded)  # reads deeper nesting than it writes
    except (orjson.JSONDecodeError, TypeError):
        return {UNREADABLE_ARGUMENTS: text}
    return found if isinstance(found, dict) else {UNREADABLE_ARGUMENTS: text}


def hashed_user(user: str | None) -> str | None:
    """A stable name for a user that tells nobody who it is; None for none."""
    return None if user is None else hashlib.sha256(user.encode()).hexdigest()[:USER_HASH_CHARS]


def parts_of(content: Content | None) -> tuple[Part, ...]:
    """Content as parts; a plain string is one text part, None none."""
    if content is None:
        return ()
    return (TextPart(type="text", text=content),) if isinstance(content, str) else content


def text_of(content: Content | None) -> str:
    """All text of a content, refusals included."""
    if isinstance(content, str):
        return content
    return "".join(
        part.text if isinstance(part, TextPart) else part.refusal
        for part in content or ()
        if isinstance(part, TextPart | RefusalPart)
    )


def said_of(message: Message, place: str) -> tuple[Part, ...]:
    """Parts of a message that may hold texts only, as the assistant's do for most providers.

    Raises:
        UpstreamRejected: there is another one.
    """
    parts = parts_of(message.content)
    for number, part in enumerate(parts):
        if not isinstance(part, TextPart | RefusalPart):
            raise cannot(
                f"{place}.content[{number}]",
                f"this provider takes no {part.type} with role '{message.role}'; "
                "send it as the user",
            )
    return parts


def message_mark(message: Message) -> CacheControl | None:
    """The cache mark of a whole message, which belongs on its last part."""
    control = (message.model_extra or {}).get("cache_control")
    if not isinstance(control, dict) or control.get("type") != "ephemeral":
        return None
    ttl = control.get("ttl")
    return CacheControl(type="ephemeral", ttl=ttl if ttl in ("5m", "1h") else None)


def named(message: Message, text: str) -> str:
    """Text of a message with its speaker in front, for providers without a field for the name."""
    return f"{message.name}: {text}" if message.name and message.role == "user" else text


def leading_system(messages: Iterable[Message]) -> list[Message]:
    """The system and developer messages before the first other one."""
    found: list[Message] = []
    for message in messages:
        if message.role not in ("system", "developer"):
            break
        found.append(message)
    return found


def system_texts(messages: Iterable[Message]) -> list[str]:
    """Texts of the leading system and developer messages, empty ones left out."""
    return [text for message in leading_system(messages) if (text := text_of(message.content))]


def supports(endpoint: Endpoint, name: str) -> bool:
    """Whether an endpoint lists a parameter, or the one it belongs to."""
    return _LISTED_AS.get(name, name) in endpoint.supported_parameters


def sampling(
    request: ChatRequest, endpoint: Endpoint, names: Mapping[str, str]
) -> dict[str, int | float]:
    """Parameters that only change their name, where they are set and the endpoint lists them.

    Args:
        request: where the values are.
        endpoint: says what it takes.
        names: our name to the provider's.
    """
    found = {}
    for ours, theirs in names.items():
        value = getattr(request, ours)
        if value is not None and supports(endpoint, ours):
            found[theirs] = value
    return found


def stops(request: ChatRequest, endpoint: Endpoint) -> list[str]:
    """The stop sequences, where the endpoint takes them; empty ones left out."""
    if request.stop is None or not supports(endpoint, "stop"):
        return []
    found = (request.stop,) if isinstance(request.stop, str) else request.stop
    return [text for text in found if text]


def json_headers(*, stream: bool) -> dict[str, str]:
    """What every POST of JSON carries; identity, because a compressed stream comes in lumps."""
    return {
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "pointsman",
    }


def cannot(place: str, problem: str) -> UpstreamRejected:
    """The error for a part that a provider has no way to take; the problem names the fix."""
    return UpstreamRejected(f"{place}: {problem}", status=400)


def by_status(
    status: int, headers: Mapping[str, str], raw: str, message: str, now_ms: int
) -> UpstreamError:
    """What a status means where nothing in the body says more."""
    wait_ms = retry_after_ms(headers, now_ms)
    if status in STATUS_LIMITED:
        return UpstreamLimited(raw=raw, status=status, retry_after_ms=wait_ms)
    if status in STATUS_REJECTED:
        kind = kind_of(None, message)
        return UpstreamRejected(message or UNKNOWN_ERROR, raw=raw, status=status, kind=kind)
    if status in STATUS_DENIED:
        return UpstreamDenied(raw=raw)
    return UpstreamDown(raw=raw, retry_after_ms=wait_ms)
