"""The formats of public price lists, by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal, get_args

from routing.catalog import import_genai, import_litellm, import_openrouter
from routing.catalog.import_list import LIST_MAX_BYTES, Reading, problem, read_json

Format = Literal["openrouter-json", "litellm-json", "genai-prices"]
FORMATS: tuple[Format, ...] = get_args(Format)


def read_list(form: Format, file: Path, day: date, provider: str | None = None) -> Reading:
    """Read a price list.

    Args:
        form: what it is.
        file: where it is.
        day: what went away before it is left out.
        provider: whose list of models it is, where the format does not say so.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LIST_MAX_BYTES + 1)
    except OSError as error:
        raise problem(str(file), f"cannot be read: {error.strerror}") from error
    data = read_json(content, str(file))
    match form:
        case "openrouter-json":
            return import_openrouter.read(data, str(file), provider)
        case "litellm-json":
            return import_litellm.read(data, str(file), day)
        case "genai-prices":
            return import_genai.read(data, str(file))
