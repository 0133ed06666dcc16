"""Relabeling by a panel of models, whole: files in, a real ChatOpenAI over HTTP against the local server, shards out.

Every record has its own fate, and the server knows it by the order number that stands in the record's last result.
"""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agenther_live.clock import utcnow
from agenther_live.live import Live
from tests.openai_server import OpenAIServer, Reply, hang, refuse, say
from tests.relabel.world import TOOLS, asks_for, bought, good, verdict
from tests.whole import until

RELABELER, JUDGE = "gpt-4o-mini", "house-judge"  # the price of the first is public, the second has none
USAGE = (1000, 100)
Rows = list[dict[str, Any]]
Fate = Callable[[dict[str, Any], int], Reply | None]
"""From a request and the number of such requests before it to an answer; None is a good one."""


def write_records(path: Path, n: int) -> Path:
    """Own records, all failed for the same reason; each differs from all others in its order number."""
    with path.open("w") as file:
        for number in range(n):
            run = bought(trajectory_id=f"run-{number}")
            record = {
                "source": "procurement",
                "raw_id": number,
                "messages": [message.wire() for message in run.messages],
                "tools": TOOLS,
                "outcome": {"success": False, "reward": 0.0},
            }
            file.write(json.dumps(record) + "\n")
    return path


def number_of(request: dict[str, Any]) -> int:
    found = re.search(r"PO-run-(\d+)", request["messages"][-1]["content"])
    assert found, "every prompt shows the order of its record"
    return int(found[1])


class Panel:
    """What the server answers: by record and question. `asked` counts requests by both."""

    def __init__(self, fates: dict[int, Fate] | None = None) -> None:
        self.fates = fates or {}
        self.asked: Counter[tuple[int, str]] = Counter()

    def __call__(self, request: dict[str, Any]) -> Reply:
        number, question = number_of(request), asks_for(request)
        before = self.asked[number, question]
        self.asked[number, question] += 1
        fate = self.fates.get(number)
        answer = fate(request, before) if fate is not None else None
        return answer or say(good(request), usage=USAGE)


def only(question: str, answer: Callable[[dict[str, Any], int], Reply | None]) -> Fate:
    return lambda request, before: answer(request, before) if asks_for(request) == question else None


def always(reply: Reply) -> Callable[[dict[str, Any], int], Reply]:
    return lambda request, before: reply


def first(reply: Reply) -> Callable[[dict[str, Any], int], Reply | None]:
    return lambda request, before: reply if before == 0 else None


def veto(request: dict[str, Any], before: int) -> Reply:
    return say(verdict(request, valid=False, reason="not what was asked"), usage=USAGE)


@contextmanager
def worker(home: Path, url: str, **options: Any) -> Iterator[Live]:
    key = options.pop("key", "")
    given = {"held_out": 0.0, "request_timeout_seconds": 0.7, "retry_seconds": 3600.0} | options
    with Live(
        home,
        relabeler=f"openai:{RELABELER},base_url={url}{key}",
        judges=["rules", f"openai:{JUDGE},base_url={url}{key}"],
        strict=True,
        **given,
    ) as live:
        yield live


def sql(live: Live, query: str) -> Rows:
    return live.buffer.sql(query).dicts()


def stages(live: Live) -> dict[str, int]:
    return {row["stage"]: row["n"] for row in sql(live, "select stage, count(*) as n from trajectories group by all")}


def attempts(live: Live) -> dict[int, int]:
    """How often each errored record was tried, by its number. Claimed for a day from now, so it makes them due."""
    found = {}
    for claim in live.buffer.claim(1000, now=utcnow() + timedelta(days=1)):
        order = re.search(r"PO-run-(\d+)", claim.trajectory.messages[-2].text)
        assert order, "the order's number stands in the last result"
        found[int(order[1])] = claim.attempts
    return found


def nothing_unjudged(live: Live) -> int:
    """Every sample's goal was proposed surely enough, and every judge of the panel said valid, surely enough."""
    samples = sql(live, "select sample_id, goal_id from samples")
    said: dict[str, Rows] = defaultdict(list)
    for row in sql(live, "select * from verdicts"):
        said[row["goal_id"]].append(row)
    accepted = {row["goal_id"] for row in sql(live, "select goal_id from goals where accepted")}
    assert {row["goal_id"] for row in samples} == accepted
    for goal_id in accepted:
        assert sorted(row["judge"] for row in said[goal_id]) == [f"openai:{JUDGE}", "rules"]
        assert all(row["status"] == "ok" and row["is_valid"] and row["confidence"] >= 0.5 for row in said[goal_id])
    return len(samples)


def funnel_adds_up(live: Live) -> None:
    steps = live.buffer.funnel()
    for above, below in itertools.pairwise(steps):
        assert above["n"] == below["n"] + sum(below["dropped"].values()), (above, below)


def shard_rows(home: Path) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for entry in map(json.loads, (home / "shards" / "manifest.jsonl").read_text().splitlines()):
        rows[entry["format"]] += entry["rows"]
    return dict(rows)


# What happens to which record. All others are answered well.
FATES: dict[int, Fate] = {
    **dict.fromkeys(range(12, 16), only("judge", veto)),
    **dict.fromkeys(
        range(16, 19), only("judge", lambda r, n: say("I think it is fine.", usage=USAGE) if n == 0 else None)
    ),
    **dict.fromkeys(range(19, 22), only("judge", first(refuse(429, "slow down", retry_after=0.4)))),
    **dict.fromkeys(range(22, 25), only("relabel", always(refuse(500)))),
    **dict.fromkeys(range(25, 27), only("judge", lambda r, n: hang() if n < 3 else None)),
    **dict.fromkeys(range(27, 30), only("relabel", first(say("x" * 4000, fault="cut")))),
    30: only("relabel", always(say("x" * 4000, fault="cut"))),
    **dict.fromkeys(range(31, 33), only("relabel", lambda r, n: say(good(r) | {"marker": "0" * 16}, usage=USAGE))),
}
N = 36
GOOD = 12 + 3 + 3 + (N - 33)
UNREADABLE, SLOW, BROKEN, FORGED = range(16, 19), range(25, 27), [22, 23, 24, 30], range(31, 33)


def test_every_fate_of_a_record(tmp_path: Path) -> None:
    panel, home = Panel(FATES), tmp_path / "home"
    records = write_records(tmp_path / "runs.jsonl", N)
    with OpenAIServer(panel) as server:
        with worker(home, server.base_url) as live:
            assert live.import_transcripts(records).imported == N
            live.run_until_idle()

            # Nothing is lost, and every record is where it belongs.
            errored = len(UNREADABLE) + len(SLOW) + len(BROKEN) + len(FORGED)
            assert stages(live) == {"relabeled": GOOD, "rejected": 4, "errored": errored}
            assert nothing_unjudged(live) == GOOD
            funnel_adds_up(live)
            assert {row["reason"] for row in sql(live, "select reason from goals where not accepted")} == {
                "judge:veto",
                "judge:unanswered",
            }
            unanswered = sql(live, "select goal_id from verdicts where status <> 'ok'")
            assert len(unanswered) == len(UNREADABLE)
            assert shard_rows(home) == {"trl_sft": GOOD, "sharegpt": GOOD}
            assert live.check_shards().bad == []

            # Each request is accounted for: what was answered is paid once and stored, what failed is neither.
            asked = panel.asked
            assert all(asked[n, "relabel"] == asked[n, "judge"] == 1 for n in [*range(12), *UNREADABLE])
            # K = 3 attempts; the same goal proposed again is the same question to the judge, answered from the store.
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (3, 1) for n in range(12, 16))
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (1, 2) for n in range(19, 22))
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (3, 0) for n in BROKEN)
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (1, 3) for n in SLOW)
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (2, 1) for n in range(27, 30))
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (1, 0) for n in FORGED)
            waited = retry_waits(server)
            assert len(waited) == 3
            assert min(waited) >= 0.4, "Retry-After is honoured"
            answered = server_answers(server)
            assert paid_as_answered(live, answered) == len(answered)

            # A second round pays for nothing twice: no request at all.
            before = len(server.requests)
            live.run_until_idle()
            assert len(server.requests) == before

        # The same in another process's place: the replies are found on disk.
        with worker(home, server.base_url) as live:
            live.run_until_idle()
            assert len(server.requests) == before
            assert attempts(live) == dict.fromkeys([*UNREADABLE, *SLOW, *BROKEN, *FORGED], 1)
            live.run_until_idle()
            # What a server answers now is accepted now; what was paid for is not asked again.
            asked = panel.asked
            recovered = len(UNREADABLE) + len(SLOW)
            assert stages(live) == {"relabeled": GOOD + recovered, "rejected": 4, "errored": errored - recovered}
            assert nothing_unjudged(live) == GOOD + recovered
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (1, 2) for n in UNREADABLE)
            assert all((asked[n, "relabel"], asked[n, "judge"]) == (1, 4) for n in SLOW)
            assert all(asked[n, "relabel"] == 6 for n in BROKEN)
            assert all(asked[n, "relabel"] == 2 for n in FORGED)
            assert attempts(live) == dict.fromkeys([*BROKEN, *FORGED], 2)
            assert shard_rows(home) == dict.fromkeys(("trl_sft", "sharegpt"), GOOD + recovered)
            assert live.check_shards().bad == []
            funnel_adds_up(live)
            answered = server_answers(server)
            assert paid_as_answered(live, answered) == len(answered)


def retry_waits(server: OpenAIServer) -> list[float]:
    """From each 429 to the next request about the same record."""
    refused = {number_of(each.body): each.at for each in server.requests if each.reply and each.reply.status == 429}
    waits = []
    for number, at in refused.items():
        again = [
            e.at for e in server.requests if e.at > at and number_of(e.body) == number and asks_for(e.body) == "judge"
        ]
        waits.append(min(again) - at)
    return waits


def server_answers(server: OpenAIServer) -> list[str]:
    """The model of each request that was answered whole."""
    return [
        each.body["model"]
        for each in server.requests
        if each.reply is not None and each.reply.status == 200 and each.reply.fault is None
    ]


def paid_as_answered(live: Live, answered: list[str]) -> int:
    """Hold the view `llm_calls` and the status against what the server answered; gives the number of calls."""
    calls = sql(live, "select * from llm_calls")
    assert Counter(row["model"] for row in calls) == Counter(f"openai:{name}" for name in answered)
    assert {(row["prompt_tokens"], row["completion_tokens"]) for row in calls} == {USAGE}
    assert {row["purpose"] for row in calls if row["model"] == f"openai:{RELABELER}"} == {"relabel"}
    assert all(row["cost_usd"] is None for row in calls if row["model"] == f"openai:{JUDGE}"), "unknown is not 0"
    known = [row["cost_usd"] for row in calls if row["model"] == f"openai:{RELABELER}"]
    assert all(0 < cost < 0.01 for cost in known)
    figures = live.status()
    assert figures["llm_calls"] == len(calls)
    assert figures["prompt_tokens"] == USAGE[0] * len(calls)
    assert figures["completion_tokens"] == USAGE[1] * len(calls)
    assert figures["cost_usd"] == pytest.approx(sum(known)) == pytest.approx(figures["spend_today_usd"])
    return len(calls)


def test_a_wrong_key_stops_the_work_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel, home = Panel(), tmp_path / "home"
    records = write_records(tmp_path / "runs.jsonl", 30)
    with OpenAIServer(panel, api_key="the-right-one") as server:
        monkeypatch.setenv("PANEL_KEY", "a-wrong-one")
        with worker(home, server.base_url, key=",api_key_env=PANEL_KEY", concurrency=4) as live:
            live.import_transcripts(records)
            live.run_until_idle()
            figures = live.status()
            assert "401" in figures["paused_reason"]
            assert "a-wrong-one" not in figures["paused_reason"]
            assert stages(live) == {"queued": 30}
            assert (figures["llm_calls"], figures["samples"], figures["errored"]) == (0, 0, 0)
            assert len(server.requests) < 30, "the first refusals stop the round"
        monkeypatch.setenv("PANEL_KEY", "the-right-one")
        with worker(home, server.base_url, key=",api_key_env=PANEL_KEY") as live:
            live.run_until_idle()
            assert stages(live) == {"relabeled": 30}
            assert live.status()["paused_reason"] is None
            assert nothing_unjudged(live) == 30
        assert set(panel.asked.values()) == {1}


def test_a_server_that_is_not_there_is_tried_again_later(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with worker(home, nobody) as live:
        live.import_transcripts(write_records(tmp_path / "runs.jsonl", 6))
        live.run_until_idle()
        assert stages(live) == {"errored": 6}
        assert live.status()["llm_calls"] == 0
        assert attempts(live) == dict.fromkeys(range(6), 1)
    panel = Panel()
    with OpenAIServer(panel) as server, worker(home, server.base_url) as live:
        live.run_until_idle()
        assert stages(live) == {"relabeled": 6}
        assert nothing_unjudged(live) == 6
        assert set(panel.asked.values()) == {1}


def test_a_stop_keeps_the_replies_that_are_on_their_way(tmp_path: Path) -> None:
    """Of what is asked at a stop, the half that is answered then is on disk; the half that never ends is asked anew."""
    stopping = threading.Event()

    def late(request: dict[str, Any], before: int) -> Reply | None:
        return say(good(request), usage=USAGE, after=stopping.is_set) if before == 0 else None

    even, odd = range(0, 8, 2), range(1, 8, 2)
    never = only("relabel", lambda request, before: hang() if before == 0 else None)
    panel = Panel({**dict.fromkeys(even, only("relabel", late)), **dict.fromkeys(odd, never)})
    home = tmp_path / "home"
    with OpenAIServer(panel) as server:
        with worker(home, server.base_url, request_timeout_seconds=90, concurrency=8) as live:
            live.import_transcripts(write_records(tmp_path / "runs.jsonl", 8))
            live.start()
            until(lambda: server.in_flight == 8)
            live.request_stop()
            stopping.set()
            live.stop()
            assert stages(live).keys() <= {"queued", "relabeled"}, "what was begun and not ended waits, and is no error"
            kept = len(sql(live, "select * from llm_calls where purpose = 'relabel'"))
            assert 1 <= kept <= len(even), "all of them, unless this machine is very busy"
        with worker(home, server.base_url) as live:
            live.run_until_idle()
            assert stages(live) == {"relabeled": 8}
        asked = [panel.asked[number, "relabel"] for number in range(8)]
        assert sum(asked) == 8 + (8 - kept), "what was kept is not paid twice"
        assert {asked[number] for number in odd} == {2}


@pytest.mark.parametrize(
    ("cap", "named", "most"),
    [
        ({"tokens_per_day": 20_000}, "tokens_per_day", 20_000),
        ({"spend_per_day_usd": 0.002}, "spend_per_day_usd", 0.002),
    ],
)
def test_a_cap_holds_and_what_is_left_waits(tmp_path: Path, cap: dict[str, Any], named: str, most: float) -> None:
    panel, home = Panel(), tmp_path / "home"
    with OpenAIServer(panel) as server:
        with worker(home, server.base_url, concurrency=4, **cap) as live:
            live.import_transcripts(write_records(tmp_path / "runs.jsonl", 20))
            asked = -1
            while asked < len(server.requests):  # what is in flight counts by estimate: alone, another may still fit
                asked = len(server.requests)
                live.run_until_idle()
            figures, done = live.status(), stages(live)
            assert named in figures["paused_reason"]
            spent = figures["spend_today_usd"] if "usd" in named else len(server.requests) * sum(USAGE)
            assert 0 < spent <= most
            assert 0 < done["relabeled"] < 20
            assert done == {"relabeled": done["relabeled"], "queued": 20 - done["relabeled"]}, "a cap is no error"
        # The spend of the day is known to the next process too: the cap still holds there.
        with worker(home, server.base_url, concurrency=4, **cap) as live:
            live.run_until_idle()
            assert (len(server.requests), stages(live)) == (asked, done)
        with worker(home, server.base_url) as live:
            live.run_until_idle()
            assert stages(live) == {"relabeled": 20}
            assert live.status()["paused_reason"] is None
            assert nothing_unjudged(live) == 20
    assert set(panel.asked.values()) == {1}, "what was paid before the cap is not paid again"
