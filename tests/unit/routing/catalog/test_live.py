"""The catalog in use is replaced whole, and only by a valid one."""

from pathlib import Path

import pytest

from routing.catalog.live import LiveCatalog
from routing.errors import ConfigError
from routing.settings import Settings


def test_reload_takes_over_a_valid_change(directory):
    live = LiveCatalog([directory.root], {}, "")
    before = live.current
    directory.provider((directory.root / "providers/lab.yml").read_text().replace("0.15", "0.30"))
    after = live.reload()
    assert live.current is after
    assert after.digest != before.digest
    assert after.endpoints_of("acme/rocket")[0].prices[0].prompt_pico == 300_000
    assert before.endpoints_of("acme/rocket")[0].prices[0].prompt_pico == 150_000


def test_reload_keeps_the_running_one_when_the_files_are_broken(directory):
    live = LiveCatalog([directory.root], {}, "")
    before = live.current
    directory.provider("slug: [")
    with pytest.raises(ConfigError):
        live.reload()
    assert live.current is before


def test_reload_of_the_same_content_keeps_the_object(directory):
    live = LiveCatalog([directory.root], {}, "")
    before = live.current
    assert live.reload() is before


def test_the_first_catalog_must_be_valid(tmp_path: Path):
    with pytest.raises(ConfigError):
        LiveCatalog([tmp_path / "absent"], {}, "")


def test_from_settings(directory, second):
    second.models("models: []")
    settings = Settings(
        catalog=f"{directory.root}:{second.root}", sandbox_url="http://127.0.0.1:8099"
    )
    live = LiveCatalog.from_settings(settings, {"GROQ_API_KEY": "key"})
    assert live.current.model("acme/rocket") is not None
    assert live.current.providers["openai"].simulated
    assert not live.current.providers["groq"].simulated
