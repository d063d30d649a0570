"""hush spool: what waits for receivers, and sending it."""

from __future__ import annotations

import pytest

from tests.export.collector import NOBODY, Collector, Reply


@pytest.fixture
def home(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.stop()


def leave(hush, url, home):
    """Run something whose spans cannot be sent."""
    hush("run", "flows:talks", OTEL_EXPORTER_OTLP_ENDPOINT=url, **home)


def test_nothing_yet(hush, home):
    assert "holds no spool" in hush("spool", **home).stdout
    assert hush.json("spool", **home)["spools"] == []


def test_what_waits_is_shown_and_sent(hush, home, collector):
    leave(hush, collector.url, home)
    leave(hush, NOBODY, home)
    head, *rows = hush.out("spool", **home).splitlines()
    assert head.split() == [
        "receiver",
        "waiting",
        "size",
        "oldest",
        "rejected",
        "corrupt",
        "sender",
    ]
    assert sorted(row.split()[0] for row in rows) == sorted([collector.url, NOBODY])
    assert all("2 spans" in row and row.endswith("none") for row in rows)

    said = hush("spool", "send", "--endpoint", collector.url, code=1, **home)
    assert "2 spans still wait" in said.stdout
    assert "Connection refused" in said.stdout
    assert said.stderr == ""

    collector.start()
    said = hush("spool", "send", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **home)
    assert said.stdout == f"sent 2 to {collector.url}\n"
    assert sorted(collector.names) == ["node only", "run talks"]
    said = hush("spool", "send", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **home)
    assert said.stdout == f"nothing waits for {collector.url}\n"
    # What is for another receiver stays for it.
    left = {one["receiver"]: one["counts"] for one in hush.json("spool", **home)["spools"]}
    assert left == {collector.url: {}, NOBODY: {"traces": 2}}


def test_json_tells_the_same(hush, home, collector):
    leave(hush, collector.url, home)
    (one,) = hush.json("spool", **home)["spools"]
    assert (one["batches"], one["counts"]) == (1, {"traces": 2})
    assert one["bytes"] == 4096
    assert 0 <= one["oldest_age_s"] < 60
    assert one["sender"] == {"held": False}
    collector.start()
    sent = hush.json("spool", "send", "--endpoint", collector.url, **home)
    assert (sent["sent"], sent["dropped"], sent["left"]["batches"]) == (2, {}, 0)


def test_what_was_refused_can_be_sent_once_more(hush, home, collector):
    collector.script = lambda request, number: Reply(400, body=b"too long", store=False)
    collector.start()
    leave(hush, collector.url, home)
    (one,) = hush.json("spool", **home)["spools"]
    assert (one["batches"], one["rejected_batches"]) == (0, 1)
    said = hush("spool", "send", "--endpoint", collector.url, "--rejected", code=1, **home).stdout
    assert "2 traces dropped: rejected" in said
    collector.script = lambda request, number: Reply()
    said = hush("spool", "send", "--endpoint", collector.url, "--rejected", **home).stdout
    assert said == f"sent 2 to {collector.url}\n"
    assert collector.twice == 0


def test_a_folder_of_ones_own(hush, home, tmp_path):
    leave(hush, NOBODY, {**home, "HUSH_SPOOL": str(tmp_path / "mine")})
    assert hush.json("spool", **home)["spools"] == []
    (one,) = hush.json("spool", "--spool", tmp_path / "mine", **home)["spools"]
    assert one["folder"].startswith(str(tmp_path / "mine"))


def test_what_cannot_be_meant_is_refused(hush, home, tmp_path):
    said = hush.refused("spool", "send", "--endpoint", "localhost:4318", **home)
    assert "http://localhost:4318" in said
    assert "--timeout" in hush.refused("spool", "send", "--timeout", "long", **home)
    (tmp_path / "link").symlink_to(tmp_path)
    said = hush.refused("spool", "send", "--spool", tmp_path / "link", **home)
    assert "symbolic link" in said


def test_a_run_whose_receiver_is_away_ends_soon_and_says_so(hush, home):
    done = hush("run", "flows:talks", OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY, **home)
    assert "talks ok" in done.stdout
    assert "not sent yet: " in done.stderr


def test_what_was_left_with_other_headers_is_named(hush, home, collector):
    tenant = {"OTEL_EXPORTER_OTLP_HEADERS": "X-Scope-OrgID=team-a"}
    leave(hush, collector.url, {**home, **tenant})
    collector.start()
    said = hush("spool", "send", "--endpoint", collector.url, code=1, **home)
    assert f"nothing waits for {collector.url}" in said.stdout
    assert "2 spans for" in said.stdout
    assert "OTEL_EXPORTER_OTLP_HEADERS" in said.stdout
    assert "team-a" not in said.stdout
    said = hush("spool", "send", "--endpoint", collector.url, **home, **tenant)
    assert said.stdout == f"sent 2 to {collector.url}\n"
    assert hush("spool", "send", "--endpoint", collector.url, **home).stdout.startswith("nothing")
