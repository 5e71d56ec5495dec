"""Media by URL made inline, for providers that take it no other way.

One job's URLs are fetched once, however many endpoints are tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gevent.pool import Pool

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamRejected
from routing.estimate import is_youtube
from routing.wire.chat import ChatRequest
from routing.wire.messages import FilePart, ImagePart, Message, Part, VideoPart
from routing.wire.request import InferenceRequest
from workers.fetch import Fetcher, FetchFailed, MediaKind

#: Fetches of one request at the same time.
FETCHES_MAX = 4
#: URLs fetched for one request; each is a connection to a stranger.
URLS_MAX = 32
#: All of them together, as text: a worker serves hundreds of requests at once.
TOTAL_CHARS_MAX = 96 * 1024 * 1024


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
        kinds = endpoint.provider.fetches
        if not kinds or not isinstance(request, ChatRequest) or request.messages is None:
            return request
        wanted = [(path, kind, url) for path, kind, url in _urls(request.messages) if kind in kinds]
        if not wanted:
            return request
        self._fetch(wanted)
        return request.model_copy(
            update={"messages": tuple(self._message(one, kinds) for one in request.messages)}
        )

    def _fetch(self, wanted: list[tuple[str, MediaKind, str]]) -> None:
        missing = {url: (path, kind) for path, kind, url in wanted if url not in self._fetched}
        if len(missing) > URLS_MAX:
            path = wanted[URLS_MAX][0]
            raise UpstreamRejected(
                f"{path}: at most {URLS_MAX} URLs are fetched for one request; send the rest inline"
            )
        pool = Pool(FETCHES_MAX)
        results = pool.map(
            lambda url: self._one(*missing[url], url),
            missing,
        )
        for problem in results:
            if problem is not None:
                raise UpstreamRejected(problem)
        if sum(len(data) for data in self._fetched.values()) > TOTAL_CHARS_MAX:
            raise UpstreamRejected(
                f"{wanted[-1][0]}: the fetched media are larger than"
                f" {TOTAL_CHARS_MAX // 2**20} MiB together"
            )

    def _one(self, path: str, kind: MediaKind, url: str) -> str | None:
        try:
            self._fetched[url] = self.fetcher.data_url(url, kind)
        except FetchFailed as failed:
            return f"{path}: could not be fetched: {failed}. Send it as a data: URL."
        return None

    def _message(self, message: Message, kinds: frozenset[str]) -> Message:
        if not isinstance(message.content, tuple):
            return message
        parts = tuple(self._part(part, kinds) for part in message.content)
        return message.model_copy(update={"content": parts})

    def _part(self, part: Part, kinds: frozenset[str]) -> Part:
        match part:
            case ImagePart() if "image" in kinds and part.image_url.url in self._fetched:
                own = part.image_url
                inline = own.model_copy(update={"url": self._fetched[own.url]})
                return part.model_copy(update={"image_url": inline})
            case VideoPart() if "video" in kinds and part.video_url.url in self._fetched:
                video = part.video_url
                data = self._fetched[video.url]
                return part.model_copy(update={"video_url": video.model_copy(update={"url": data})})
            case FilePart() if "file" in kinds and (part.file.file_data or "") in self._fetched:
                data = self._fetched[part.file.file_data or ""]
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
