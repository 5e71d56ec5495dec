"""Every call is counted once, and secrets are not kept."""

from workers.simulator.journal import REQUESTS_MAX, Call, Journal, marker_in
from workers.simulator.wire import Request


def call(journal: Journal, *, provider: str = "openai", marker: str | None = None) -> Call:
    made = Call(
        n=journal.serial(),
        provider=provider,
        model="m",
        path="/v1/chat/completions",
        stream=False,
        status=200,
        fault=None,
        body_sha256="0",
        marker=marker,
        started_ms=journal.now_ms(),
    )
    journal.begin(made)
    return made


def test_counts_add_up():
    journal = Journal(lambda: 5.0)
    calls = [call(journal) for _ in range(5)]

    for outcome, one in zip(
        ("finished", "faulted", "refused", "closed_by_client"), calls, strict=False
    ):
        journal.end(one, outcome)
        journal.end(one, "finished")

    tally = journal.report()["providers"]["openai"]
    assert (tally.started, tally.open) == (5, 1)
    assert (tally.finished, tally.faulted, tally.refused, tally.closed_by_client) == (1, 1, 1, 1)
    assert calls[3].closed_at_ms == 5.0
    assert calls[4].outcome == "open"


def test_a_call_that_ends_after_a_reset_changes_nothing():
    journal = Journal(lambda: 0.0)
    old = call(journal)

    journal.reset()
    journal.end(old, "finished")

    assert journal.report() == {"providers": {}, "calls": []}


def test_report_can_be_narrowed():
    journal = Journal(lambda: 0.0)
    for marker in ("marker-a", "marker-b", "marker-a"):
        call(journal, marker=marker)

    assert [one.n for one in journal.report("marker-a")["calls"]] == [1, 3]
    assert [one.n for one in journal.report(limit=1)["calls"]] == [3]
    assert journal.report(limit=0)["calls"] == []


def test_requests_are_bounded_and_carry_no_key():
    journal = Journal(lambda: 0.0)
    request = Request(
        method="POST",
        target="/",
        headers={"authorization": "Bearer secret"},
        body=b"{}",
        keep_alive=True,
    )

    for number in range(REQUESTS_MAX + 1):
        journal.keep(f"marker-{number}", "openai", "/", request)

    assert journal.received("marker-0") is None
    kept = journal.received("marker-1")
    assert kept is not None
    assert kept.headers["authorization"].startswith("sha256:")


def test_marker():
    assert marker_in("please echo marker-a1-B2, thanks") == "marker-a1-B2"
    assert marker_in("nothing here") is None
