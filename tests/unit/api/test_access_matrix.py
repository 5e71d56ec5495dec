"""Every route and method with everybody who comes, compared with the reviewed table."""

from __future__ import annotations

import pytest

from tests.unit.api.access import RIGHTS, Right, Visitors, methods_of, routes, visitors

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_PROVED = 401
NOT_ALLOWED = 403
NO_SUCH_METHOD = 405
DEFECT = 500

#: Which keys are refused where a key of some right is wanted.
WRONG_KIND: dict[Right, Right] = {"inference": "management", "management": "inference"}


@pytest.fixture
def everybody(site) -> Visitors:
    return visitors(site)


def test_every_route_has_a_reviewed_row(site):
    without = {route.row for route in routes(site)} - RIGHTS.keys()

    assert without == set(), "decide who may use these, then add them to tests/unit/api/access.py"


def test_who_proves_nothing_gets_401_wherever_a_key_is_wanted(site, everybody: Visitors):
    wrong = []
    for route in routes(site, ("key", "inference", "management")):
        for who, headers in everybody.strangers.items():
            status = site.client.open(route.path(), method=route.method, headers=headers)
            if status.status_code != NOT_PROVED:
                wrong.append((route.method, route.rule, who, status.status_code))

    assert wrong == []


def test_a_key_of_the_wrong_kind_gets_403(site, everybody: Visitors):
    wrong = []
    for route in routes(site, tuple(WRONG_KIND)):
        headers = everybody.headers(WRONG_KIND[route.right])
        status = site.client.open(route.path(), method=route.method, headers=headers).status_code
        if status != NOT_ALLOWED:
            wrong.append((route.method, route.rule, status))

    assert wrong == []


def test_who_has_the_right_is_let_in(site, everybody: Visitors):
    """What is asked for may be missing or wrong, but nobody is turned away at the door."""
    wrong = []
    for route in routes(site, tuple(set(RIGHTS.values()))):
        kinds: tuple[Right, ...] = (
            ("inference", "management") if route.right in {"open", "key"} else (route.right,)
        )
        for kind in kinds:
            headers = everybody.headers(kind)
            status = site.client.open(
                route.path(), method=route.method, headers=headers
            ).status_code
            if status in {NOT_PROVED, NOT_ALLOWED, NO_SUCH_METHOD} or status == DEFECT:
                wrong.append((route.method, route.rule, kind, status))

    assert wrong == []


def test_what_is_open_asks_nobody(site, everybody: Visitors):
    wrong = []
    for route in routes(site, ("open",)):
        for who, headers in everybody.strangers.items():
            status = site.client.open(
                route.path(), method=route.method, headers=headers
            ).status_code
            if status in {NOT_PROVED, NOT_ALLOWED} or status == DEFECT:
                wrong.append((route.method, route.rule, who, status))

    assert wrong == []


def test_other_methods_are_405_for_everybody(site, everybody: Visitors):
    wrong = []
    served: dict[str, set[str]] = {}
    for rule in site.app.url_map.iter_rules():
        served.setdefault(rule.rule, set()).update(methods_of(rule))
    paths = {route.rule: route.path() for route in routes(site)}
    for rule, methods in served.items():
        for method in {*METHODS, "TRACE", "PROPFIND"} - methods:
            for headers in ({}, everybody.headers("inference"), everybody.headers("management")):
                status = site.client.open(paths[rule], method=method, headers=headers).status_code
                if status != NO_SUCH_METHOD:
                    wrong.append((method, rule, status))

    assert wrong == []


def test_both_base_paths_serve_the_same(site):
    by_base = {
        base: {route.row for route in routes(site) if route.rule.startswith(base)}
        for base in ("/api/v1/", "/v1/")
    }

    assert by_base["/api/v1/"] == by_base["/v1/"] != set()
