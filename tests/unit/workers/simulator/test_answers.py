"""What is said, before any wire format: media, vectors, caches and calls."""

import math
import wave
import zlib
from io import BytesIO
from typing import Any

import pytest

from workers.simulator.answers import Stamp, answer, pick_tools
from workers.simulator.dialect import Ask, CacheMark, Choice, Tool, Usage
from workers.simulator.knobs import Knobs
from workers.simulator.media import DIMENSIONS, png, silence, vector
from workers.simulator.prompt_cache import ENTRIES_MAX, UNCACHED, CacheUse, PromptCache
from workers.simulator.signatures import is_signed, seal, sign, unseal

ONE = Tool(name="one", schema={})
TWO = Tool(name="two", schema={})


def stamp(cache: CacheUse = UNCACHED) -> Stamp:
    return Stamp(serial=1, created=1, body_sha256="ab" * 32, cache=cache)


def spoken(cache: CacheUse = UNCACHED, **fields: Any) -> tuple[Choice, Usage]:
    said = answer(Ask(model="m", said="hello", **fields), Knobs(), stamp(cache))
    assert said.usage is not None
    return said.choices[0], said.usage


def text(**fields: Any) -> str:
    return "".join(spoken(**fields)[0].pieces)


def size(picture: bytes) -> tuple[int, int]:
    return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")


def test_the_answer_mentions_what_came_in():
    assert text(media=("image/png", "image/url")).endswith(" I see: image/png, image/url.")
    assert text(tool_results=("sunny",)).endswith(" The tool returned: sunny.")
    assert text(tool_results=("x" * 300,)).endswith(f": {'x' * 200}.")
    assert "I see" not in text()


@pytest.mark.parametrize(
    ("ratio", "sides"),
    [("1:1", (16, 16)), ("16:9", (16, 9)), ("9:16", (9, 16)), ("nonsense", (16, 16))],
)
def test_pictures_can_be_opened(ratio: str, sides: tuple[int, int]):
    choice, usage = spoken(images=2, aspect_ratio=ratio)
    first, second = choice.images

    assert size(first) == sides
    assert first != second
    assert usage.image_out == 2 * 1290
    start = first.index(b"IDAT") + 4
    length = int.from_bytes(first[start - 8 : start - 4], "big")
    rows = zlib.decompress(first[start : start + length])
    assert len(rows) == sides[1] * (1 + 3 * sides[0])


def test_sounds_can_be_opened():
    choice, usage = spoken(audio_format="wav")

    with wave.open(BytesIO(choice.audio)) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (24_000, 2400)
    assert choice.transcript == "".join(choice.pieces)
    assert usage.audio_out
    assert silence("mp3").startswith(b"\xff\xfb")
    assert len(silence("flac")) == 42
    assert len(silence("pcm16")) == 4800


def test_sounds_received_are_counted():
    assert spoken(media=("audio/wav", "image/png"))[1].audio == 32


def test_vectors_are_of_length_one_and_always_the_same():
    ask = Ask(model="m", said="", kind="embeddings", inputs=("a", "b"), prompt_tokens=2)
    said = answer(ask, Knobs(), stamp())

    assert said.vectors == (vector("a"), vector("b"))
    assert len(said.vectors[0]) == DIMENSIONS
    assert math.hypot(*said.vectors[0]) == pytest.approx(1)
    assert said.vectors[0] != said.vectors[1]
    assert len(vector("a", 8)) == 8
    assert said.usage == Usage(prompt=2, completion=0, total=2)


@pytest.mark.parametrize(
    ("said", "options", "names"),
    [
        pytest.param("hello", {}, "", id="nobody asked"),
        pytest.param("use a Tool", {}, "one", id="asked"),
        pytest.param("use a tool", {"answered": True}, "", id="answered"),
        pytest.param("use a tool", {"answered": True, "must": True}, "one", id="must"),
        pytest.param("tools in parallel", {}, "one two", id="parallel"),
        pytest.param("tools in parallel", {"parallel": False}, "one", id="not in parallel"),
    ],
)
def test_which_tools_are_picked(said: str, options: dict[str, bool], names: str):
    picked = pick_tools([ONE, TWO], said, **{"answered": False, **options})

    assert [tool.name for tool in picked] == names.split()


def test_one_tool_is_called_twice_in_parallel():
    assert pick_tools([ONE], "tools in parallel", answered=False) == (ONE, ONE)
    assert pick_tools([], "use a tool", must=True, answered=False) == ()


def test_the_stop_text_is_named():
    choice, _ = spoken(stop=("nowhere", "Pointsman"))

    assert choice.stopped_by == "Pointsman"
    assert spoken(stop=("nowhere",))[0].stopped_by == ""


def test_cache_use_is_counted():
    _, usage = spoken(CacheUse(read=5, written=7), prompt_tokens=20)

    assert (usage.prompt, usage.cached, usage.cache_write) == (20, 5, 7)


def test_only_implicit_caches_read_unasked():
    assert spoken(prompt_tokens=4096)[1].cached == 2048
    assert spoken(prompt_tokens=4096, implicit_cache=False)[1].cached == 0


def test_the_longest_known_stretch_is_read_and_the_rest_written():
    cache = PromptCache()
    short = (CacheMark("a", 10),)
    both = (*short, CacheMark("b", 30))

    def use(marks: tuple[CacheMark, ...], provider: str = "p") -> CacheUse:
        return cache.use(provider, Ask(model="m", said="", cache_marks=marks))

    assert use(short) == (0, 10)
    assert use(both) == (10, 20)
    assert use(both) == (30, 0)
    assert use(both, "other") == (0, 30)
    assert use(()) == UNCACHED


def test_a_mere_count_is_cached_too():
    cache = PromptCache()
    ask = Ask(model="m", said="", cached_tokens=10)

    assert [cache.use("p", ask) for _ in range(2)] == [(0, 10), (10, 0)]


def test_the_cache_forgets_the_oldest():
    cache = PromptCache()
    for number in range(ENTRIES_MAX + 1):
        cache.use("p", Ask(model="m", said="", cache_marks=(CacheMark(str(number), 10),)))

    oldest, newest = (
        cache.use("p", Ask(model="m", said="", cache_marks=(CacheMark(key, 10),)))
        for key in ("0", str(ENTRIES_MAX))
    )

    assert (oldest, newest) == ((0, 10), (10, 0))


def test_signatures_belong_to_their_text():
    assert is_signed("thought", sign("thought"))
    assert not is_signed("thought!", sign("thought"))
    assert not is_signed("thought", None)
    assert not is_signed("thought", "ü")


def test_seals_can_be_opened_unless_they_were_changed():
    sealed = seal("thought ü")

    assert unseal(sealed) == "thought ü"
    assert unseal(sealed[:-4]) is None
    assert unseal("no base64") is None
    assert unseal(None) is None


def test_pictures_differ_by_seed():
    assert png("1:1", 1) != png("1:1", 2)
