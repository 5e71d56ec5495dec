"""How many tokens a request may have, without a tokenizer on the hot path.

Two figures, because two mistakes are possible. The *upper bound* is what money is held for and what
a provider's report is clamped to: too low loses money. The *rough* figure is what a context length
is compared with: too high refuses requests that would have fitted.

Upper bound: no byte-level tokenizer makes more tokens than bytes. Lower-case ASCII letters and
spaces are the exception worth making, since they are most of all prose and even random ones come in
tokens of about two bytes: those count half. English prose is over-estimated by about 2, code and
base64 by 1.2 to 2, Chinese and Thai by 3 or more with tokenizers that know them, and by nothing
with tokenizers that do not.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from routing.wire.chat import ChatRequest
from routing.wire.embeddings import EmbeddingContent, EmbeddingsRequest, inputs_of
from routing.wire.messages import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    VideoPart,
)

_HALF_TOKEN_BYTES = (string.ascii_lowercase + " ").encode()
#: Bytes in a token of usual text: English 4.5 to 4.8, code 3.5, Chinese 3 to 6.
_ROUGH_BYTES = 5

#: Role, separators and end mark of a message in the chat templates in use: 3 to 8 tokens.
MESSAGE_TOKENS = 8
#: What a template adds by itself: a default system prompt, the date, the priming of the answer.
REQUEST_TOKENS = 256
#: What providers add when tools are present; Anthropic documents up to 804.
TOOLS_TOKENS = 1_024
#: One image at its largest: GPT-4o 1,445, Claude 1,600 (4,784 in high resolution), Gemini 2,240.
#: gpt-4o-mini counts up to 48,169 for the same picture and is the known exception.
IMAGE_TOKENS = 5_000
#: The same images at their usual size, for the rough figure.
IMAGE_TOKENS_ROUGH = 256
#: Gemini counts 32 tokens a second; speech at 32 kbit/s is 5,300 base64 characters a second.
_AUDIO_CHARS_PER_TOKEN = 64
#: A second of sound costs something however small the file is.
AUDIO_TOKENS = 256
#: A page of a PDF is up to 3,000 tokens and seldom under 12,000 base64 characters.
_FILE_CHARS_PER_TOKEN = 4
#: A document by URL or id, and the least for one inline, whose pages may be packed small: 16 pages.
FILE_TOKENS = 50_000
#: Text in base64: three bytes in four characters, and never more tokens than bytes.
_TEXT_FILE = "data:text/"
#: A video by link is as long as it likes: an hour is a million tokens, and no context is longer.
VIDEO_LINK_TOKENS = 1_000_000
#: An inline video at Gemini's 263 tokens a second and no less than 50 kbit/s.
_VIDEO_CHARS_PER_TOKEN = 32
VIDEO_TOKENS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What planning must know of a request's content.

    Attributes:
        prompt_tokens_max: never less than a provider would count, for usual content.
        text_tokens_rough: messages as a reader would guess them.
        tool_tokens_rough: tool definitions likewise.
        images: image parts.
        modalities: of the input: text, image, audio, video, file.
        video_urls: kinds of video link: `youtube`, `http`.
    """

    prompt_tokens_max: int
    text_tokens_rough: int
    tool_tokens_rough: int
    images: int
    modalities: frozenset[str]
    video_urls: frozenset[str] = frozenset()


_TEXT_ONLY = frozenset({"text"})
_YOUTUBE = re.compile(
    r"https?://((www\.|m\.|music\.)?youtube\.com/(watch\?|shorts/|live/|embed/)|youtu\.be/)",
    re.IGNORECASE,
)


def is_youtube(url: str) -> bool:
    """Whether a link is one that only Google can follow."""
    return _YOUTUBE.match(url) is not None


def tally(request: ChatRequest) -> Tally:
    """Count everything in one pass; cost grows with the bytes only, at memory speed."""
    texts: list[str] = []
    media: list[tuple[str, int]] = []
    messages = request.messages or ()
    if request.prompt is not None:
        texts.append(request.prompt)
    for message in messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            _collect_parts(message, texts, media)
        _collect_replayed(message, texts)
    form = request.response_format
    if form is not None and form.json_schema is not None:
        texts.append(form.json_schema.model_dump_json(exclude_unset=True))
    spoken = "".join(texts).encode()
    tools = b"".join(_tool_texts(request))
    images = sum(kind == "image" for kind, _ in media)
    overhead = REQUEST_TOKENS + MESSAGE_TOKENS * len(messages) + (TOOLS_TOKENS if tools else 0)
    return Tally(
        prompt_tokens_max=_text_max(spoken)
        + _text_max(tools)
        + overhead
        + sum(tokens for _, tokens in media)
        + sum(IMAGE_TOKENS * len(message.images or ()) for message in messages)
        + _passed_on_max(request),
        text_tokens_rough=len(spoken) // _ROUGH_BYTES + images * IMAGE_TOKENS_ROUGH,
        tool_tokens_rough=len(tools) // _ROUGH_BYTES,
        images=images,
        modalities=_TEXT_ONLY.union(kind for kind, _ in media) if media else _TEXT_ONLY,
        video_urls=_video_urls(messages) if any(kind == "video" for kind, _ in media) else _NONE,
    )


_NONE: frozenset[str] = frozenset()


def _video_urls(messages: Iterable[Message]) -> frozenset[str]:
    urls = [
        part.video_url.url
        for message in messages
        if isinstance(message.content, tuple)
        for part in message.content
        if isinstance(part, VideoPart) and not part.video_url.url.startswith("data:")
    ]
    return frozenset("youtube" if is_youtube(url) else "http" for url in urls)


def tally_inputs(request: EmbeddingsRequest) -> Tally:
    """The same for embeddings; each input has the whole context, so the longest counts."""
    texts: list[str] = []
    media: list[tuple[str, int]] = []
    numbers: list[tuple[int, ...]] = []
    for one in inputs_of(request):
        match one:
            case str():
                texts.append(one)
            case EmbeddingContent():
                own: list[str] = []
                _count_parts(one.content, own, media)
                texts.append("".join(own))
            case _:
                numbers.append(one)
    lengths = [len(text.encode()) // _ROUGH_BYTES for text in texts]
    return Tally(
        prompt_tokens_max=_text_max("".join(texts).encode())
        + sum(len(one) for one in numbers)
        + MESSAGE_TOKENS * (len(texts) + len(numbers))
        + sum(tokens for _, tokens in media),
        text_tokens_rough=max((*lengths, *(len(one) for one in numbers)), default=0),
        tool_tokens_rough=0,
        images=sum(kind == "image" for kind, _ in media),
        modalities=_TEXT_ONLY.union(kind for kind, _ in media) if media else _TEXT_ONLY,
    )


def spoken_text(request: ChatRequest) -> str:
    """All text of the messages, for counting it exactly once it matters."""
    texts = [request.prompt or ""]
    for message in request.messages or ():
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            _collect_parts(message, texts, [])
        _collect_replayed(message, texts)
    return "\n".join(texts)


def prompt_tokens_max(request: ChatRequest) -> int:
    """The upper bound of the prompt; see the module's head."""
    return tally(request).prompt_tokens_max


def image_count(request: ChatRequest) -> int:
    """Image parts of a request, for prices per image."""
    return tally(request).images


def _text_max(text: bytes) -> int:
    dense = len(text.translate(None, _HALF_TOKEN_BYTES))
    return dense + (len(text) - dense + 1) // 2


def _collect_parts(message: Message, texts: list[str], media: list[tuple[str, int]]) -> None:
    if isinstance(message.content, tuple):
        _count_parts(message.content, texts, media)


def _count_parts(parts: Iterable[Part], texts: list[str], media: list[tuple[str, int]]) -> None:
    for part in parts:
        match part:
            case TextPart():
                texts.append(part.text)
            case ImagePart():
                media.append(("image", IMAGE_TOKENS))
            case AudioPart():
                length = len(part.input_audio.data)
                media.append(("audio", max(AUDIO_TOKENS, length // _AUDIO_CHARS_PER_TOKEN)))
            case VideoPart():
                media.append(("video", _video_tokens(part.video_url.url)))
            case FilePart():
                media.append(("file", _file_tokens(part.file.file_data or "")))
            case RefusalPart():
                texts.append(part.refusal)


def _video_tokens(url: str) -> int:
    if not url.startswith("data:"):
        return VIDEO_LINK_TOKENS
    return max(VIDEO_TOKENS, len(url) // _VIDEO_CHARS_PER_TOKEN)


def _file_tokens(data: str) -> int:
    if data.startswith(_TEXT_FILE):
        return len(data) * 3 // 4
    return max(FILE_TOKENS, len(data) // _FILE_CHARS_PER_TOKEN)


def _collect_replayed(message: Message, texts: list[str]) -> None:
    """What an earlier answer had beside its text goes upstream again, and is counted there."""
    for call in message.tool_calls or ():
        texts += (call.id, call.function.name, call.function.arguments)
    texts += (text for text in (message.name, message.refusal) if text)
    thoughts = message.reasoning or message.reasoning_content
    if thoughts:
        texts.append(thoughts)
    if message.reasoning_details:
        texts.append(orjson.dumps(message.reasoning_details).decode())


def _passed_on_max(request: ChatRequest) -> int:
    """What goes upstream unread: a provider may take it for a part of the prompt."""
    unread: dict[str, object] = dict(request.model_extra or {})
    if request.prediction is not None:
        unread["prediction"] = request.prediction.model_dump(exclude_unset=True)
    if request.provider is not None and request.provider.options:
        unread["options"] = request.provider.options
    return _text_max(orjson.dumps(unread)) if unread else 0


def _tool_texts(request: ChatRequest) -> Iterable[bytes]:
    for tool in request.tools or ():
        yield orjson.dumps(tool.function.model_dump(exclude_unset=True))
