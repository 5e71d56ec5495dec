from collections.abc import Callable
from typing import Any

import pytest

from routing.catalog.shapes import Endpoint
from routing.errors import UpstreamRejected
from routing.wire.chat import ChatRequest
from workers import inline
from workers.fetch import Fetcher, FetchFailed, MediaKind
from workers.inline import URLS_MAX, Inliner

Make = Callable[..., Endpoint]


class Files(Fetcher):
    """Fetches nothing; remembers what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, MediaKind]] = []

    def data_url(self, url: str, kind: MediaKind, until_s: float) -> str:
        self.asked.append((url, kind))
        if "broken" in url:
            raise FetchFailed("its server answered 404")
        return f"data:x/{kind};base64,AAAA"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def request(*parts: dict[str, Any]) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [{"role": "user", "content": list(parts)}]})


def taking(make: Make, *fetches: str) -> Endpoint:
    return make(provider={"fetches": frozenset(fetches)})


PARTS = (
    image("https://a.test/1.png"),
    {"type": "file", "file": {"file_data": "https://a.test/2.pdf"}},
    {"type": "video_url", "video_url": {"url": "https://a.test/3.mp4"}},
    {"type": "video_url", "video_url": {"url": "https://youtu.be/abc"}},
    image("data:image/png;base64,AAAA"),
    {"type": "text", "text": "https://a.test/4.png"},
)


def test_only_the_kinds_a_provider_wants_inline_are_fetched(endpoint: Make):
    files = Files()
    found = Inliner(files).inlined(request(*PARTS), taking(endpoint, "image", "file"))
    assert files.asked == [("https://a.test/1.png", "image"), ("https://a.test/2.pdf", "file")]
    assert isinstance(found, ChatRequest)
    content = found.model_dump(exclude_unset=True)["messages"][0]["content"]
    assert content[0]["image_url"]["url"] == "data:x/image;base64,AAAA"
    assert content[1]["file"]["file_data"] == "data:x/file;base64,AAAA"
    assert list(content[2:]) == list(PARTS[2:])


def test_a_youtube_link_is_nothing_to_fetch(endpoint: Make):
    files = Files()
    Inliner(files).inlined(request(*PARTS), taking(endpoint, "video"))
    assert files.asked == [("https://a.test/3.mp4", "video")]


def test_a_request_without_urls_stays_the_same_object(endpoint: Make):
    asked = request(*PARTS[4:])
    assert Inliner(Files()).inlined(asked, taking(endpoint, "image", "file")) is asked
    assert Inliner(Files()).inlined(request(*PARTS), taking(endpoint)) is not None


def test_what_was_fetched_for_one_endpoint_is_not_fetched_for_the_next(endpoint: Make):
    files = Files()
    inliner = Inliner(files)
    for _ in range(2):
        inliner.inlined(request(*PARTS, PARTS[0]), taking(endpoint, "image"))
    assert files.asked == [("https://a.test/1.png", "image")]


def test_a_failure_names_the_part_and_the_way_out(endpoint: Make):
    asked = request(PARTS[5], image("https://a.test/broken.png"))
    with pytest.raises(UpstreamRejected) as caught:
        Inliner(Files()).inlined(asked, taking(endpoint, "image"))
    assert caught.value.message == (
        "messages[0].content[1].image_url.url: 'https://a.test/broken.png' could not be fetched:"
        " its server answered 404. Send it as a data: URL."
    )
    assert caught.value.blame == "caller"


def test_the_number_of_fetches_is_bounded(endpoint: Make):
    files = Files()
    asked = request(*(image(f"https://a.test/{n}.png") for n in range(URLS_MAX + 1)))
    with pytest.raises(UpstreamRejected, match=f"At most {URLS_MAX} URLs"):
        Inliner(files).inlined(asked, taking(endpoint, "image"))
    assert not files.asked


def test_a_provider_that_follows_https_only_gets_the_rest_inline(endpoint: Make):
    files = Files()
    asked = request(image("http://a.test/1.png"), image("https://a.test/2.png"))
    found = Inliner(files).inlined(asked, endpoint(provider={"quirks": frozenset({"https_links"})}))
    assert files.asked == [("http://a.test/1.png", "image")]
    assert isinstance(found, ChatRequest)
    content = found.model_dump(exclude_unset=True)["messages"][0]["content"]
    assert content[1]["image_url"]["url"] == "https://a.test/2.png"


def test_an_error_repeats_no_secret_of_a_url(endpoint: Make):
    asked = request(image("https://me:secret@a.test/broken.png?token=secret#secret"))
    with pytest.raises(UpstreamRejected) as caught:
        Inliner(Files()).inlined(asked, taking(endpoint, "image"))
    assert "secret" not in caught.value.message
    assert "https://a.test/broken.png" in caught.value.message


def test_fetching_ends_as_soon_as_there_is_too_much(endpoint: Make, monkeypatch):
    monkeypatch.setattr(inline, "TOTAL_CHARS_MAX", 60)
    files = Files()
    many = [image(f"https://a.test/{number}.png") for number in range(20)]
    with pytest.raises(UpstreamRejected, match="larger than"):
        Inliner(files).inlined(request(*many), taking(endpoint, "image"))
    assert len(files.asked) < 10
