"""Bodies of management calls: small, and checked whole."""

from __future__ import annotations

from typing import TypeVar

from flask import g, request
from pydantic import BaseModel, ValidationError

from api.body import hang_up, read_body
from routing.errors import PayloadTooLarge
from routing.wire.validate import bad_request, load_object

#: Names, amounts, short lists; the longest is a provider key in JSON of some 3,000 bytes.
BODY_MAX = 64 * 1024
Shape = TypeVar("Shape", bound=BaseModel)


def sent() -> bytes:
    """The body of the current request as it came.

    Raises:
        PayloadTooLarge: over the cap; the connection is closed behind the answer.
        BadRequest: cut short, malformed or compressed.
    """
    try:
        return read_body(request, BODY_MAX)
    except PayloadTooLarge:
        g.hang_up = hang_up(request)
        raise


def sent_as(shape: type[Shape]) -> Shape:
    """The same, read as JSON of a shape.

    Raises:
        PayloadTooLarge: over the cap.
        BadRequest: says which field is wrong.
    """
    data = load_object(sent())
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        # `from None`: the cause holds the body, with its secrets, which no log may see.
        raise bad_request(error) from None
