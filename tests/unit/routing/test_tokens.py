import pytest

from routing.tokens import count_tokens


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("", 0, id="nothing"),
        pytest.param("hello world", 2, id="two words"),
        pytest.param("<|endoftext|>", 7, id="a special token is text"),
        pytest.param("\ud800", 1, id="a lone surrogate"),
        pytest.param("word " * 300_000, 300_001, id="over a million characters"),
    ],
)
def test_count_tokens(text: str, count: int):
    assert count_tokens(text) == count
