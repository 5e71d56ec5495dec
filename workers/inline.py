"""Media by URL made inline, for providers that take it no other way.

One job's URLs are fetched once, however many endpoints are tried.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gevent.pool import Pool

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamRejected
from routing.estimate import is_youtube
from routing.wire.chat import ChatRequest
from routing.wire.messages import FilePart, ImagePart, Message, Part, VideoPart
from routing.wire.request import InferenceRequest
from workers.fetch import TOTAL_S, Fetcher, FetchFailed, MediaKind

#: Fetches of one request at the same time.
FETCHES_MAX = 4
#: URLs fetched for one request; each is a connection to a stranger.
URLS_MAX = 32
#: Of a URL in an error: enough to know which one it was.
SHOWN_CHARS = 120
#: All of them together, as text: a worker serves hundreds of requests at once.
TOTAL_CHARS_MAX = 96 * 1024 * 1024
_TOO_LARGE = f"The fetched media are larger than {TOTAL_CHARS_MAX // 2**20} MiB together."


@dataclass(slots=True)
class Inliner:
    """The media of one job."""

    fetcher: Fetcher
    _fetched: dict[str, str] = field(default_factory=dict)

    def inlined(self, request: InferenceRequest, endpoint: Endpoint) -> InferenceRequest:
        """The request as this endpoint can take it; the same object when nothing was to fetch.

        Raises:
            UpstreamRejected: a URL could not be fetched; says which and why.
        """
        provider = endpoint.provider
        kinds, https_only = provider.fetches, "https_links" in provider.quirks
        if not (kinds or https_only):
            return request
        if not isinstance(request, ChatRequest) or request.messages is None:
            return request
        wanted = {
            url: (path, kind)
            for path, kind, url in _urls(request.messages)
            if kind in kinds or (https_only and url[:7].lower() == "http://")
        }
        if not wanted:
            return request
        self._fetch({url: wanted[url] for url in wanted if url not in self._fetched})
        inline = {url: self._fetched[url] for url in wanted}
        return request.model_copy(
            update={"messages": tuple(_with_inline(one, inline) for one in request.messages)}
        )

    def _fetch(self, missing: dict[str, tuple[str, MediaKind]]) -> None:
        if len(missing) > URLS_MAX:
            raise UpstreamRejected(
                f"At most {URLS_MAX} URLs are fetched for one request; send the rest inline."
            )
        until_s = time.monotonic() + TOTAL_S
        problems = Pool(FETCHES_MAX).map(
            lambda url: self._one(*missing[url], url, until_s), missing
        )
        for problem in problems:
            if problem is not None:
                raise UpstreamRejected(problem)
        if self._full:
            raise UpstreamRejected(_TOO_LARGE)

    @property
    def _full(self) -> bool:
        return sum(len(data) for data in self._fetched.values()) > TOTAL_CHARS_MAX

    def _one(self, path: str, kind: MediaKind, url: str, until_s: float) -> str | None:
        if self._full:  # asked before each one: 32 of the largest would be 2 GiB
            return _TOO_LARGE
        try:
            self._fetched[url] = self.fetcher.data_url(url, kind, until_s)
        except FetchFailed as failed:
            return (
                f"{path}: '{_shown(url)}' could not be fetched: {failed}. Send it as a data: URL."
            )
        return None


def _shown(url: str) -> str:
    """A URL as an error may repeat it: without credentials, and without a query that may be one."""
    bare = re.sub(r"^(\w+://)[^/?#]*@", r"\1", url).partition("?")[0].partition("#")[0]
    return bare if len(bare) <= SHOWN_CHARS else f"{bare[: SHOWN_CHARS - 1]}…"


def _with_inline(message: Message, inline: Mapping[str, str]) -> Message:
    if not isinstance(message.content, tuple):
        return message
    parts = tuple(_inline_part(part, inline) for part in message.content)
    return message.model_copy(update={"content": parts})


def _inline_part(part: Part, inline: Mapping[str, str]) -> Part:
    match part:
        case ImagePart() if part.image_url.url in inline:
            image = part.image_url.model_copy(update={"url": inline[part.image_url.url]})
            return part.model_copy(update={"image_url": image})
        case VideoPart() if part.video_url.url in inline:
            video = part.video_url.model_copy(update={"url": inline[part.video_url.url]})
            return part.model_copy(update={"video_url": video})
        case FilePart() if (part.file.file_data or "") in inline:
            data = inline[part.file.file_data or ""]
            file = part.file.model_copy(update={"file_data": data})
            return part.model_copy(update={"file": file})
        case _:
            return part


def _urls(messages: tuple[Message, ...]) -> Iterator[tuple[str, MediaKind, str]]:
    """Path, kind and URL of everything that is not inline; YouTube links are nothing to fetch."""
    for index, message in enumerate(messages):
        if not isinstance(message.content, tuple):
            continue
        for place, part in enumerate(message.content):
            at = f"messages[{index}].content[{place}]"
            match part:
                case ImagePart() if not part.image_url.url.startswith("data:"):
                    yield f"{at}.image_url.url", "image", part.image_url.url
                case VideoPart() if not (
                    part.video_url.url.startswith("data:") or is_youtube(part.video_url.url)
                ):
                    yield f"{at}.video_url.url", "video", part.video_url.url
                case FilePart() if (part.file.file_data or "data:").startswith("data:") is False:
                    yield f"{at}.file.file_data", "file", part.file.file_data or ""
                case _:
                    pass
