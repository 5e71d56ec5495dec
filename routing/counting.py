"""How long a prompt is, for callers who ask before they send it."""

from __future__ import annotations

from collections.abc import Iterator

from routing.estimate import (
    AUDIO_TOKENS,
    FILE_TOKENS,
    IMAGE_TOKENS_ROUGH,
    MESSAGE_TOKENS,
    VIDEO_TOKENS,
    spoken_text,
    tally,
)
from routing.wire.chat import ChatRequest
from routing.wire.messages import AudioPart, FilePart, ImagePart, Part, VideoPart

#: Bytes in a token, for prose and code of all tokenizers in use: 3.5 to 5.
BYTES_PER_TOKEN = 4
#: Characters of an inline document per token: a PDF is mostly fonts and pictures.
_FILE_CHARS_PER_TOKEN = 8


def count_answer(request: ChatRequest) -> int:
    """Input tokens of a request, estimated here: nobody is asked and nothing is charged.

    Within some 25 % for usual text. The tokenizer itself is not loaded for it: that would cost
    every front door 120 MB, and it is only one of many tokenizers a request may meet.
    """
    messages = request.messages or ()
    text = len(spoken_text(request).encode()) // BYTES_PER_TOKEN
    media = sum(_media_tokens(part) for part in _parts(request))
    return max(1, text + tally(request).tool_tokens_rough + media + MESSAGE_TOKENS * len(messages))


def _parts(request: ChatRequest) -> Iterator[Part]:
    for message in request.messages or ():
        if isinstance(message.content, tuple):
            yield from message.content


def _media_tokens(part: Part) -> int:
    match part:
        case ImagePart():
            return IMAGE_TOKENS_ROUGH
        case AudioPart():
            return AUDIO_TOKENS
        case VideoPart():
            return VIDEO_TOKENS
        case FilePart():
            inline = part.file.file_data or ""
            if inline.startswith("data:"):
                return len(inline) // _FILE_CHARS_PER_TOKEN
            return FILE_TOKENS
        case _:
            return 0
