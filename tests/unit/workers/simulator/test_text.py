"""The words are deterministic, and their lengths are what was asked for."""

import pytest

from workers.simulator import text


def test_greeting_names_the_model_and_repeats_what_was_said():
    said = text.greeting("gpt-4o", "  Where does\nthis train go?  ", 7)

    assert "standing in for gpt-4o" in said
    assert "You said: “Where does this train go?”" in said


def test_greeting_repeats_no_more_than_sixty_characters():
    said = text.greeting("m", "a" * 500, 7)

    assert "a" * 60 in said
    assert "a" * 61 not in said


def test_same_seed_says_the_same_and_another_body_has_another_seed():
    one, other = (text.seed_of(text.digest(body)) for body in (b"one", b"other"))

    assert text.greeting("m", "hi", one) == text.greeting("m", "hi", one)
    assert one != other


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        pytest.param("", 0, id="nothing is no token"),
        pytest.param("a", 1, id="a letter is one"),
        pytest.param("abcd", 1, id="four letters are one"),
        pytest.param("abcde", 2, id="the fifth begins another"),
    ],
)
def test_estimate(said: str, tokens: int):
    assert text.estimate_tokens(said) == tokens


@pytest.mark.parametrize("tokens", [1, 10, 1000])
def test_filler_has_exactly_the_tokens(tokens: int):
    assert text.estimate_tokens(text.filler(tokens, 3)) == tokens
    assert text.estimate_tokens(text.first_tokens(text.filler(2000, 3), tokens)) == tokens


@pytest.mark.parametrize("count", [1, 2, 7, 20, 64])
def test_pieces_are_as_many_as_asked_and_none_is_empty(count: int):
    cut = text.pieces("The points are set.", count)

    assert len(cut) == count
    assert all(cut)
    assert "".join(cut).startswith("The points are set.")


def test_natural_pieces_are_twelve_to_twenty_and_lose_nothing():
    said = text.greeting("gpt-4o", "hello", 5)

    for seed in range(30):
        cut = text.natural_pieces(said, seed)
        assert 12 <= len(cut) <= 20
        assert "".join(cut) == said
