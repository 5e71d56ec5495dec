"""Claude's rules for the turns of a conversation, whatever notation a provider has for blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Block = dict[str, Any]
Is = Callable[[Block], bool]


@dataclass(slots=True, kw_only=True)
class Turns:
    """User and assistant by turns.

    Attributes:
        is_thought: whether a block is thinking, to be read or not; likewise the other two.
    """

    is_thought: Is
    is_call: Is
    is_result: Is
    turns: list[Block] = field(default_factory=list)

    def say(self, role: str, blocks: list[Block]) -> None:
        """Append to the last turn if it is of the same role; results of tools come first in one."""
        if not blocks:
            return
        if role == "user":
            self.close()
        if not self.turns or self.turns[-1]["role"] != role:
            self.turns.append({"role": role, "content": []})
        content = self.turns[-1]["content"]
        content += blocks
        if role == "user":
            content.sort(key=lambda block: not self.is_result(block))

    def close(self) -> None:
        """Take away thoughts that led to nothing: no turn of the assistant may end with one."""
        if not self.turns or self.turns[-1]["role"] != "assistant":
            return
        content = self.turns[-1]["content"]
        while content and self.is_thought(content[-1]):
            content.pop()
        if not content:
            self.turns.pop()

    def lacks_thoughts(self) -> bool:
        """Whether the turn under way called tools without a thought that led to it.

        With a budget for thinking Claude refuses such a history; a client that keeps no
        `reasoning_details` is then answered without thinking. One thought is enough: a model need
        not think again between its calls.
        """
        called = False
        for turn in reversed(self.turns):
            content = turn["content"]
            if turn["role"] == "assistant":
                if self.is_thought(content[0]):
                    return False
                called = called or any(self.is_call(block) for block in content)
            elif not any(self.is_result(block) for block in content):
                break
        return called
