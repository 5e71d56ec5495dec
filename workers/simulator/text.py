"""Deterministic words: the same seed always says the same."""

from hashlib import sha256
from itertools import pairwise
from typing import Final

# Four characters to a token is the usual rule of thumb for English.
CHARACTERS_PER_TOKEN: Final = 4
ECHO_CHARACTERS: Final = 60
RESULT_CHARACTERS: Final = 200
PIECES_MIN: Final = 12
PIECES_SPREAD: Final = 9

_SENTENCES: Final = (
    "The points are set and the line ahead is clear.",
    "Every train takes the track that was chosen for it.",
    "No real model was asked, so take this answer as a rehearsal.",
    "Signals are green from here to the terminus.",
    "The timetable holds, even where the provider would not.",
    "A lever was pulled, a bell rang, and here we are.",
)
# Not ASCII on purpose: whoever counts bytes for characters notices it on the first call.
CLOSING: Final = " 🚂"
REFUSAL: Final = "I'm sorry, but I can't help with that."


def digest(body: bytes) -> str:
    """Return the SHA-256 of a request body, in hexadecimal."""
    return sha256(body).hexdigest()


def seed_of(body_sha256: str) -> int:
    """Return the number that decides all choices for a body."""
    return int(body_sha256[:12], 16)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text; an empty text has none."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def first_tokens(text: str, tokens: int) -> str:
    """Return as much of a text as fits into a number of tokens."""
    return text[: tokens * CHARACTERS_PER_TOKEN]


def greeting(model: str, said: str, seed: int) -> str:
    """Say who is speaking for whom, repeat what was said, and add a sentence or two."""
    echo = " ".join(said[: 4 * ECHO_CHARACTERS].split())[:ECHO_CHARACTERS]
    first = _SENTENCES[seed % len(_SENTENCES)]
    second = _SENTENCES[(seed // 7 + 1) % len(_SENTENCES)]
    heard = f"You said: “{echo}”. " if echo else ""
    return (
        f"Hello from the Pointsman simulator, standing in for {model}. "
        f"{heard}{first} {second}{CLOSING}"
    )


def noticed(media: tuple[str, ...], tool_results: tuple[str, ...]) -> str:
    """Say what came in beside the words, so that a client can see that it arrived."""
    seen = f" I see: {', '.join(media)}." if media else ""
    returned = " ".join(
        f"The tool returned: {result[:RESULT_CHARACTERS]}." for result in tool_results
    )
    return seen + (f" {returned}" if returned else "")


def thoughts(model: str, seed: int) -> str:
    """Return what a reasoning model would think before it answers."""
    sentence = _SENTENCES[(seed // 3) % len(_SENTENCES)]
    return f"Someone asks {model} a question. A short and friendly answer will do. {sentence}"


def filler(tokens: int, seed: int) -> str:
    """Return text of exactly this many estimated tokens."""
    length = tokens * CHARACTERS_PER_TOKEN
    start = seed % len(_SENTENCES)
    round_trip = " ".join((*_SENTENCES[start:], *_SENTENCES[:start])) + " "
    return (round_trip * (length // len(round_trip) + 1))[:length]


def pieces(text: str, count: int) -> tuple[str, ...]:
    """Split a text into exactly this many pieces; the joined pieces are the text.

    A text shorter than the count is repeated until every piece has a character: who asks for
    20 chunks counts them, and does not read them.
    """
    if count <= 0:
        return ()
    if len(text) < count:
        text = (text or "x") * (count // max(1, len(text)) + 1)
    step, rest = divmod(len(text), count)
    cuts = [index * step + min(index, rest) for index in range(count + 1)]
    return tuple(text[start:end] for start, end in pairwise(cuts))


def natural_pieces(text: str, seed: int) -> tuple[str, ...]:
    """Split a text into the 12 to 20 pieces a short stream would have, fewer if it is tiny."""
    count = PIECES_MIN + seed % PIECES_SPREAD
    return pieces(text, min(count, len(text)))
