"""A new catalog under traffic: nothing is dropped, and a bad one changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster import wait_until
from tests.e2e.catalog import STEADY, Row, endpoint, write_models, write_provider
from tests.fixtures.cluster import new_marker

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

STREAMS = 8


@pytest.fixture
def extra(system):
    """Slug and model of a provider to come; its files are gone again afterwards."""
    slug, model = "newcomer", "e2e-more/new"
    models = system.catalog / "models" / "e2e-more.yml"
    provider = system.catalog / "providers" / f"{slug}.yml"
    yield slug, model
    models.unlink(missing_ok=True)
    provider.unlink(missing_ok=True)
    assert system.run("catalog", "reload").returncode == 0
    wait_until(lambda: not known(system, model), 10, "the old catalog")


def known(system, model):
    return system.client.get(f"/models/{model}/endpoints").status_code == 200


def add(system, slug, model):
    write_models(system.catalog, "e2e-more", (model,))
    row = Row()  # with a pool of its own, which somebody must begin to serve
    offers = [endpoint(model, "newer", row)]
    write_provider(system.catalog, slug, system.cluster.simulator_url, row, offers)


def test_new_model_is_served_and_no_stream_notices_the_reload(system, extra):
    slug, model = extra
    markers = [new_marker() for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(system.stream, model=STEADY, marker=marker) for marker in markers]
        wait_until(lambda: all(map(system.calls, markers)), 10, "the streams")
        unknown = system.ask(model=model)

        add(system, slug, model)
        reload = system.run("catalog", "reload")
        wait_until(lambda: known(system, model), 10, "the new catalog")
        wait_until(lambda: system.ask(model=model).status_code == 200, 10, "the new model")
        marker = new_marker()
        answer = system.ask(model=model, marker=marker)
        ended = [stream.result() for stream in streams]

    assert unknown.status_code == 400
    assert reload.returncode == 0, reload.stderr
    assert "heard the order" in reload.stdout
    assert answer.json()["provider"] == "Newcomer"
    assert system.providers_called(marker) == [slug]
    for stream, marker in zip(ended, markers, strict=True):
        assert stream.done
        assert stream.finish_reasons == ["stop"]
        assert marker in stream.content
        assert len(system.calls(marker)) == 1


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("slug: newcomer\nname: New\n  bad: [\n", 3, ""),
        ("slug: newcomer\nname: New\ndialect: openai\nbase_url: ftp://x\n", 4, "base_url"),
    ],
)
def test_malformed_file_is_refused_with_its_place_and_the_catalog_stays(
    system, extra, text, line, reason
):
    slug, _ = extra
    file = system.catalog / "providers" / f"{slug}.yml"
    file.write_text(text)

    refused = system.run("catalog", "reload")
    checked = system.run("catalog", "check")
    answer = system.ask(only=["good"])

    for told in (refused, checked):
        assert told.returncode != 0
        assert f"{file}:{line}: " in told.stderr + told.stdout
        assert reason in told.stderr + told.stdout
    assert answer.status_code == 200
