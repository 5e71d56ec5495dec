from typing import get_args

import pytest

from routing.catalog.document import DialectName
from routing.errors import UpstreamRejected
from workers.dialects.registry import CHAT, EMBEDDINGS, dialect


def test_the_catalogs_names_are_the_registrys():
    assert set(CHAT) == set(get_args(DialectName))
    assert set(EMBEDDINGS) < set(CHAT)


@pytest.mark.parametrize("name", CHAT)
def test_each_can_be_loaded_and_is_loaded_once(name: str):
    assert dialect(name, "chat") is dialect(name, "messages")


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_another_translator(name: str):
    assert dialect(name, "embeddings") is not dialect(name, "chat")


def test_what_a_wire_format_has_not_is_said():
    with pytest.raises(UpstreamRejected, match="has no embeddings operation"):
        dialect("anthropic", "embeddings")
