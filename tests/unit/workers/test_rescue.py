"""The bill of an answer that two endpoints gave."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from routing.catalog.shapes import Endpoint, Price
from routing.errors import UpstreamDown
from routing.usage import Usage
from routing.wire.chat import checked
from routing.wire.job import PlanEntry
from routing.wire.render import ChatRenderer
from workers.call import Part, Tally
from workers.rescue import BrokenOff, with_part

COUNTS = st.integers(0, 10_000)


def test_an_answer_of_one_endpoint_is_billed_as_it_was_reported():
    used = Usage(prompt_tokens=9, completion_tokens=3)

    assert with_part(used, None) is used


def test_of_an_answer_that_began_anew_only_the_new_one_is_billed():
    used = Usage(prompt_tokens=9, completion_tokens=3)

    found = with_part(used, Part())

    assert (found.prompt_tokens, found.completion_tokens) == (9, 3)
    assert found.flags == ("rescued",)


def test_a_prompt_we_counted_ourselves_holds_no_begun_answer():
    used = Usage(prompt_tokens=9, completion_tokens=3, estimated=True, flags=("usage_estimated",))

    found = with_part(used, Part(text="four", tokens=4))

    assert (found.prompt_tokens, found.completion_tokens) == (9, 7)
    assert found.estimated
    assert found.flags == ("usage_estimated", "rescued")


@given(prompt=COUNTS, completion=COUNTS, cached=COUNTS, written=COUNTS, images=COUNTS, begun=COUNTS)
def test_a_continued_answer_is_billed_as_one(
    prompt: int, completion: int, cached: int, written: int, images: int, begun: int
):
    used = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=min(cached, prompt),
        cache_write_tokens=min(written, prompt - min(cached, prompt)),
        images=images,
    )

    found = with_part(used, Part(text="x", tokens=begun))

    assert found.prompt_tokens == max(0, prompt - begun)
    assert found.completion_tokens == completion + begun
    assert found.cached_tokens + found.cache_write_tokens <= found.prompt_tokens
    assert found.images == images


def test_what_another_key_has_paid_for_is_not_billed_again():
    used = Usage(prompt_tokens=9, completion_tokens=3)
    before = Part(text="four and five", tokens=5, paid=(("own", 4), ("", 1)))

    told = {payer: with_part(used, before, payer) for payer in ("", "own", "other")}

    counts = {payer: (one.prompt_tokens, one.completion_tokens) for payer, one in told.items()}
    assert counts == {"": (4, 4), "own": (4, 7), "other": (4, 3)}


def test_a_begun_answer_remembers_who_paid_for_which_part(endpoint: Callable[..., Endpoint]):
    able = endpoint(prefill=True)
    first = broken(able, "One two three", byok="own")
    asked = checked({"messages": [{"role": "user", "content": "Count"}]})
    onward = first.onward("chat", asked, broken(able).entry, able)
    assert onward is not None
    second = broken(able, " four five", before=onward.before)

    found = second.onward("chat", asked, second.entry, able)

    assert found is not None
    assert [payer for payer, _ in found.before.paid] == ["own", ""]
    assert sum(tokens for _, tokens in found.before.paid) == found.before.tokens
    assert second.whole().before == onward.before


def broken(
    endpoint: Endpoint, *texts: str, byok: str = "", before: Part | None = None
) -> BrokenOff:
    entry = PlanEntry(endpoint_id=endpoint.id, model_id="m", pool="p", price=Price(), byok=byok)
    return BrokenOff(
        entry=entry,
        endpoint=endpoint,
        tally=Tally(texts=list(texts), first_ms=1, before=before),
        render=ChatRenderer("gen-1", 1, "m", "P"),
        failure=UpstreamDown().failure("P"),
    )


def test_what_is_continued_does_not_end_in_white_space(endpoint: Callable[..., Endpoint]):
    able = endpoint(prefill=True)
    begun = broken(able, "One two", " \n")
    asked = checked({"messages": [{"role": "user", "content": "Count"}], "max_tokens": 50})

    onward = begun.onward("chat", asked, begun.entry, able)

    assert onward is not None
    assert onward.mark.action == "continued"
    assert onward.request.messages[-1].content == "One two"
    assert onward.before.text == "One two \n"


def test_white_space_alone_is_begun_anew(endpoint: Callable[..., Endpoint]):
    able = endpoint(prefill=True)
    begun = broken(able, " \n")
    asked = checked({"messages": [{"role": "user", "content": "Count"}]})

    onward = begun.onward("chat", asked, begun.entry, able)

    assert onward is not None
    assert onward.mark.action == "restarted"
    assert begun.onward("messages", asked, begun.entry, able) is None
