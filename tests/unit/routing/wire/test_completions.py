from typing import Any

import orjson
import pytest

from routing.errors import BadRequest
from routing.wire.completions import parse_completions


def test_a_text_completion_becomes_the_one_internal_request():
    body = {"model": "a/m", "prompt": ["Once"], "logprobs": 2, "n": 1, "suffix": "end"}

    request = parse_completions(orjson.dumps(body))

    assert request.prompt == "Once"
    assert request.messages is None
    assert (request.logprobs, request.top_logprobs) == (True, 2)
    assert request.model_extra == {"suffix": "end"}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        pytest.param({}, "prompt", "required", id="no prompt"),
        pytest.param({"prompt": ""}, "prompt", "empty", id="empty prompt"),
        pytest.param({"prompt": []}, "prompt", "empty", id="empty list"),
        pytest.param({"prompt": ["a", "b"]}, "prompt", "several prompts", id="two prompts"),
        pytest.param({"prompt": [1, 2]}, "prompt", "token arrays", id="tokens"),
        pytest.param({"prompt": [[1], [2]]}, "prompt", "token arrays", id="lists of tokens"),
        pytest.param({"prompt": {"a": 1}}, "prompt", "string", id="an object"),
        pytest.param({"prompt": "x", "n": 2}, "n", "must be 1", id="two choices"),
        pytest.param({"prompt": "x", "best_of": 3}, "best_of", "must be 1", id="best of three"),
        pytest.param({"prompt": "x", "n": True}, "n", "must be 1", id="n as boolean"),
        pytest.param({"prompt": "x", "echo": True}, "echo", "not supported", id="echo"),
        pytest.param({"prompt": "x", "logprobs": 6}, "logprobs", "0 to 5", id="six logprobs"),
        pytest.param({"prompt": "x", "logprobs": True}, "logprobs", "0 to 5", id="chat's switch"),
        pytest.param({"prompt": "x", "messages": []}, "messages", "/chat", id="messages"),
        pytest.param({"prompt": "x", "temperature": 3}, "temperature", "at most 2", id="chat rule"),
    ],
)
def test_what_is_not_supported_says_so_and_why(fields: dict[str, Any], param: str, words: str):
    with pytest.raises(BadRequest, match=words) as caught:
        parse_completions(orjson.dumps(fields))

    assert caught.value.param == param
