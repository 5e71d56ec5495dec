from __future__ import annotations

from pathlib import Path

import pytest

from api.cli import redis_server
from api.cli.home import Home
from api.cli.procfile import root


@pytest.fixture
def system(tmp_path):
    """A folder of PATH with a redis-server of a chosen version."""

    def install(version):
        binary = tmp_path / "redis-server"
        binary.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0:0'\n")
        binary.chmod(0o755)
        return str(tmp_path)

    return install


WHEEL = Path("/wheel/redis-server")


def test_the_systems_server_comes_first(system):
    path = system("7.0.15")

    assert redis_server.find(path, WHEEL) == Path(path) / "redis-server"


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "unknown"])
def test_a_server_that_is_too_old_is_passed_over(system, version):
    assert redis_server.find(system(version), WHEEL) == WHEEL


def test_without_any_server_there_is_none(tmp_path):
    assert redis_server.find(str(tmp_path), None) is None


def test_the_wheel_brings_a_server_that_is_new_enough(tmp_path):
    binary = redis_server.in_wheel()

    assert binary is not None
    assert redis_server.find(str(tmp_path), binary) == binary


def test_the_configuration_keeps_everything_and_listens_on_loopback_only(tmp_path):
    text = redis_server.configuration(Home(tmp_path), 6390)

    lines = text.splitlines()
    assert "bind 127.0.0.1" in lines
    assert "port 6390" in lines
    assert "appendonly yes" in lines
    assert 'save ""' in lines
    assert "maxmemory-policy noeviction" in lines


def test_a_folder_with_spaces_and_quotes_is_escaped():
    text = redis_server.configuration(Home(Path('/data/my "own"')), 6390)

    assert 'dir "/data/my \\"own\\"/redis"\n' in text


def test_the_deployments_file_promises_the_same_durability():
    deployed = (root() / "deploy" / "redis.conf").read_text().splitlines()

    for name, value in redis_server.DURABLE.items():
        assert f"{name} {value}" in deployed
