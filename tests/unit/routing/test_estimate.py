import base64
from typing import Any

import pytest

from routing.estimate import (
    FILE_TOKENS,
    IMAGE_TOKENS,
    TOOLS_TOKENS,
    VIDEO_LINK_TOKENS,
    VIDEO_TOKENS,
    image_count,
    prompt_tokens_max,
    tally,
)
from routing.tokens import count_tokens
from routing.wire.chat import ChatRequest, checked

SAMPLES = {
    "English": "The quick brown fox jumps over the lazy dog, and nobody asked it to do so. ",
    "Chinese": "敏捷的棕色狐狸跳过了懒狗。没有人要求它这样做。",
    "Japanese": "素早い茶色の狐がのろまな犬を飛び越える。",
    "Arabic": "الثعلب البني السريع يقفز فوق الكلب الكسول. ",
    "Hindi": "तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। ",
    "Thai": "สุนัขจิ้งจอกสีน้ำตาลที่ว่องไวกระโดดข้ามสุนัขขี้เกียจ",
    "Russian": "Быстрая лиса перепрыгивает через ленивую собаку. ",
    "Greek": "Γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί. ",
    "Tibetan": "བོད་ཡིག་ནི་བོད་ཀྱི་སྐད་ཡིག་ཡིན། ",
    "Runic": "ᚠᛇᚻ᛫ᛒᛦᚦ᛫ᚠᚱᚩᚠᚢᚱ",
    "Cuneiform": "𒀀𒁀𒂀𒃀",
    "emoji": "😀🎉👩‍👩‍👧‍👦🏳️‍🌈",
    "code": "def f(x: int) -> int:\n    return {k: v**2 for k, v in x.items() if k != 0}\n",
    "JSON": '{"a":[1,2,{"b":null,"c":"x"}],"d":true}',
    "digits": "3.14159265358979 ",
    "base64": base64.b64encode(bytes(i * 97 % 251 for i in range(300))).decode(),
    "hex": bytes(i * 89 % 241 for i in range(100)).hex(),
    "control": "\n\t\x01",
}


def request(content: Any, **fields: Any) -> ChatRequest:
    return checked({"messages": [{"role": "user", "content": content}]} | fields)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_upper_bound_is_one_for_any_script(name: str):
    text = SAMPLES[name] * 200

    bound = prompt_tokens_max(request(text)) - prompt_tokens_max(request(""))

    assert bound >= count_tokens(text)


def test_prose_is_over_estimated_by_less_than_three():
    text = SAMPLES["English"] * 200

    assert prompt_tokens_max(request(text)) < 3 * count_tokens(text)


def test_the_rough_size_does_not_refuse_prose_that_fits():
    text = SAMPLES["English"] * 200

    assert 0.7 * count_tokens(text) < tally(request(text)).text_tokens_rough <= count_tokens(text)


def test_parts_tools_and_replayed_calls_are_counted():
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    file = {"type": "file", "file": {"file_id": "f1"}}
    tool = {"type": "function", "function": {"name": "look_up", "description": "d" * 100}}
    empty = prompt_tokens_max(request(""))

    assert image_count(request([image, image, file])) == 2
    assert prompt_tokens_max(request([image, file])) == empty + IMAGE_TOKENS + FILE_TOKENS
    assert prompt_tokens_max(request("", tools=[tool])) > empty + TOOLS_TOKENS + 50
    assert tally(request([image, file])).modalities == {"text", "image", "file"}


def test_a_replayed_tool_call_counts_as_text():
    call = {"id": "1", "function": {"name": "f", "arguments": "9" * 500}}
    messages = [{"role": "assistant", "tool_calls": [call]}]

    assert prompt_tokens_max(checked({"messages": messages})) > 500


def test_so_do_refusals_drawn_pictures_and_names():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "assistant", "content": "", "name": "9" * 200, "refusal": "9" * 500}
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "9" * 500}]}

    assert prompt_tokens_max(checked({"messages": [message]})) > 700
    assert prompt_tokens_max(checked({"messages": [refused]})) > 500
    drawn = tally(checked({"messages": [message | {"images": [picture]}]}))
    assert drawn.prompt_tokens_max > IMAGE_TOKENS + 700
    assert drawn.modalities == {"text"}


def test_what_is_passed_on_unread_counts_as_prompt():
    empty = prompt_tokens_max(request(""))

    assert prompt_tokens_max(request("", documents=["9" * 500])) > empty + 500
    options = {"options": {"acme": {"functions": ["9" * 500]}}}
    assert prompt_tokens_max(request("", provider=options)) > empty + 500
    prediction = {"type": "content", "content": "9" * 500}
    assert prompt_tokens_max(request("", prediction=prediction)) > empty + 500


def test_a_prompt_is_counted_as_a_message_is():
    assert tally(checked({"prompt": "word " * 50})).text_tokens_rough == 50


@pytest.mark.parametrize(
    ("part", "least"),
    [
        pytest.param(
            {"type": "video_url", "video_url": {"url": "https://youtu.be/x"}},
            VIDEO_LINK_TOKENS,
            id="nobody knows how long",
        ),
        pytest.param(
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64," + "A" * 64}},
            VIDEO_TOKENS,
            id="a short video",
        ),
        pytest.param(
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjQK"}},
            FILE_TOKENS,
            id="pages may be packed small",
        ),
        pytest.param(
            {"type": "file", "file": {"file_data": "data:text/plain;base64," + "A" * 400_000}},
            300_000,
            id="a text has no more tokens than bytes",
        ),
    ],
)
def test_media_are_held_for_at_their_longest(part: dict[str, Any], least: int):
    assert prompt_tokens_max(request([part])) - prompt_tokens_max(request("")) >= least
