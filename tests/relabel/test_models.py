"""Relabeling by models: a real ChatOpenAI over HTTP against the local server, whole, with every way to fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agenther_live.errors import HomeError, SpendCapReached, TerminalModelError
from agenther_live.integrations.chat_model import chat_model
from agenther_live.labels import Relabeling
from agenther_live.relabel import (
    ModelDetector,
    ModelExtractor,
    ModelJudge,
    ModelRelabeler,
    Policy,
    RulesDetector,
    RulesExtractor,
    RulesJudge,
    TemplateRelabeler,
    relabel,
)
from agenther_live.replies import Replies, marker_key
from agenther_live.settings import load_settings
from agenther_live.trajectory import Trajectory
from tests.openai_server import OpenAIServer, Reply, hang, refuse, say
from tests.relabel.build import FAILED
from tests.relabel.world import TRUE_GOAL, asks_for, bought, good, proposal, record, verdict

Answer = Callable[[dict[str, Any]], Reply | str]


def engine(
    server: OpenAIServer, folder: Path, *, judges: int = 1, rules: bool = False, **options: Any
) -> Callable[..., Relabeling]:
    """A relabeling by models against this server, with the replies kept in `folder`."""
    settings = load_settings(home=folder, **{"request_timeout_seconds": 5.0} | options)

    def run(run: Trajectory | None = None, *, by_model: bool = False) -> Relabeling:
        replies = Replies(
            folder / "replies", spend_per_day_usd=settings.spend_per_day_usd, tokens_per_day=settings.tokens_per_day
        )
        policy = Policy.of(settings, marker_key=marker_key(folder))

        def model(name: str) -> Any:
            return replies.remembered(chat_model(f"openai:{name},base_url={server.base_url}", settings=settings))

        try:
            return asyncio.run(
                relabel(
                    run or bought(),
                    FAILED,
                    1,
                    relabeler=ModelRelabeler(model("gpt-4o-mini")),
                    judges=[
                        *([RulesJudge()] if rules else []),
                        *(ModelJudge(model(f"gpt-4.1-mini-{n}" if n else "gpt-4.1-mini")) for n in range(judges)),
                    ],
                    detector=ModelDetector(model("gpt-4o-mini")) if by_model else RulesDetector(),
                    extractor=ModelExtractor(model("gpt-4o-mini")) if by_model else RulesExtractor(),
                    policy=policy,
                )
            )
        finally:
            replies.close()

    return run


def answering(**by_question: Any) -> Answer:
    """Good answers, except where a question is given its own: a reply, or a function of the request."""

    def answer(request: dict[str, Any]) -> Reply | str:
        made = by_question.get(asks_for(request), good)
        made = made(request) if callable(made) else made
        return made if isinstance(made, Reply | str) else say(made)

    return answer


def test_accepted(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        done = engine(server, tmp_path, judges=2, rules=True)()
    assert (done.stage, done.reason) == ("relabeled", "accepted")
    assert done.sample is not None
    assert done.sample.goal == TRUE_GOAL
    assert done.sample.original_goal not in json.dumps([each.message.wire() for each in done.sample.messages])
    (goal,) = done.goals
    assert goal.accepted
    assert [each.judge for each in goal.verdicts] == ["rules", "openai:gpt-4.1-mini", "openai:gpt-4.1-mini-1"]
    rules = goal.verdicts[0].confidence
    assert goal.confidence == pytest.approx((0.9 + rules + 0.8 + 0.8) / 4)
    assert done.sample.relabeler == "openai:gpt-4o-mini"
    assert [each.train for each in done.sample.messages] == [
        False,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert done.sample.messages[-1].message.text == "I ordered 40 hex bolts from Bolt & Co for 124.00 EUR."


def test_requests_are_as_they_should_be(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        engine(server, tmp_path)(by_model=True)
        bodies = server.bodies
    assert [asks_for(body) for body in bodies] == ["detect", "extract", "relabel", "judge"]
    assert [body["temperature"] for body in bodies] == [0.0, 0.0, 0.3, 0.0]
    assert {body["response_format"]["type"] for body in bodies} == {"json_schema"}
    assert all(body["response_format"]["json_schema"]["strict"] for body in bodies)
    judged = record(bodies[-1])
    assert judged["goal"] == TRUE_GOAL
    assert judged.pop("missed") == ["for at most 100 EUR in total"]
    assert "100 EUR" not in json.dumps(judged), "of the failed goal a judge sees what was missed"
    assert judged["messages"][-1]["trained"] is True
    assert judged["writes"] == [{"tool": "place_order", "message": 10}]


def test_what_the_relabeler_found_is_kept(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        done = engine(server, tmp_path)()
    assert [(each.text, each.messages, each.kind) for each in done.achievements] == [
        ("an order was placed", (11,), "achievement")
    ]
    assert done.sample is not None
    assert [each.message.text for each in done.sample.messages if each.rewritten] == [
        done.sample.messages[-1].message.text
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid": False}, "judge:veto"),
        ({"c": False}, "judge:veto"),
        ({"better_options": ["Acme"]}, "judge:veto"),
        ({"requirements": [{"text": "in time", "met": False, "messages": []}]}, "judge:veto"),
        ({"confidence": 0.49}, "judge:gate"),
    ],
)
def test_a_judge_says_no(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with OpenAIServer(answering(judge=lambda request: verdict(request, **changes))) as server:
        done = engine(server, tmp_path)()
        temperatures = [body["temperature"] for body in server.bodies if asks_for(body) == "relabel"]
        told = [record(body).get("refused", []) for body in server.bodies if asks_for(body) == "relabel"]
    assert (done.stage, done.reason, done.sample) == ("rejected", reason, None)
    assert temperatures == [0.3, 0.7, 0.7], "each refusal is followed by another attempt, up to K"
    assert [len(each) for each in told] == [0, 1, 2], "each attempt is told why those before it were refused"


def test_one_veto_of_two_judges_is_final(tmp_path: Path) -> None:
    def judge(request: dict[str, Any]) -> dict[str, Any]:
        return verdict(request, valid=request["model"] != "gpt-4.1-mini-1")

    with OpenAIServer(answering(judge=judge)) as server:
        done = engine(server, tmp_path, judges=2, max_attempts=1, fallback_factor=0.1)()
    assert (done.stage, done.reason) == ("rejected", "judge:veto")


def _two(request: dict[str, Any]) -> str:
    return json.dumps(verdict(request)) * 2


BAD_VERDICTS: dict[str, Any] = {
    "prose": "I think that this is valid.",
    "empty": "",
    "fenced": lambda request: f"```json\n{json.dumps(verdict(request))}\n```",
    "text before": lambda request: f"Sure! {json.dumps(verdict(request))}",
    "text after": lambda request: f"{json.dumps(verdict(request))} That is all.",
    "two values": _two,
    "a list": lambda request: json.dumps([verdict(request)]),
    "wrong marker": lambda request: verdict(request, marker="0123456789abcdef"),
    "marker of no text": lambda request: verdict(request, marker=7),
    "a key too many": lambda request: verdict(request, extra=1),
    "a key too few": lambda request: {k: v for k, v in verdict(request).items() if k != "l"},
    "a key twice": lambda request: json.dumps(verdict(request, valid=False))[:-1] + ', "valid": true}',
    "words for truth": lambda request: verdict(request, valid="true"),
    "confidence in per cent": lambda request: verdict(request, confidence=80),
    "confidence NaN": lambda request: json.dumps(verdict(request, confidence=float("nan"))),
    "cut off": lambda request: say(verdict(request), finish_reason="length"),
    "filtered": lambda request: say(verdict(request), finish_reason="content_filter"),
    "half": lambda request: json.dumps(verdict(request))[:60],
}


@pytest.mark.parametrize("bad", BAD_VERDICTS.values(), ids=BAD_VERDICTS)
def test_what_is_no_verdict_is_neither_yes_nor_no(tmp_path: Path, bad: Any) -> None:
    with OpenAIServer(answering(judge=bad)) as server:
        done = engine(server, tmp_path)()
        asked = len(server.bodies)
        assert (done.stage, done.reason) == ("errored", "unanswered")
        assert done.goals[-1].verdicts[-1].status == "unanswered"
        assert not done.goals[-1].accepted
        assert asked == 2
        # At the next visit the paid replies are read again for nothing, and the judge is asked once more.
        again = engine(server, tmp_path)()
        assert again.stage == "errored"
        assert len(server.bodies) == asked + 1
        server._next = answering()
        assert engine(server, tmp_path)().stage == "relabeled"
        assert len(server.bodies) == asked + 2


def test_a_second_run_pays_nothing(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        run = bought()
        first = engine(server, tmp_path, judges=2)(run, by_model=True)
        paid = len(server.bodies)
        second = engine(server, tmp_path, judges=2)(run, by_model=True)
        assert len(server.bodies) == paid == 5
    assert first == second


def test_429_then_success(tmp_path: Path) -> None:
    waiting = [refuse(429, retry_after=0.2)]
    with OpenAIServer(lambda request: waiting.pop() if waiting else say(good(request))) as server:
        began = time.monotonic()
        done = engine(server, tmp_path)()
        assert time.monotonic() - began >= 0.2
        assert len(server.bodies) == 3
    assert done.stage == "relabeled"


def test_a_long_retry_after_is_left_to_the_caller(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: refuse(429, retry_after=120)) as server:
        done = engine(server, tmp_path)()
        assert len(server.bodies) == 1
    assert (done.stage, done.reason, done.retry_after) == ("errored", "model", 120.0)


def test_500_for_ever(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: refuse(500)) as server:
        done = engine(server, tmp_path)()
        assert len(server.bodies) == 3, "one layer of retries: three requests, not nine"
    assert (done.stage, done.reason) == ("errored", "model")
    assert done.analysis is not None


@pytest.mark.parametrize("fault", ["hang", "drop", "cut", "truncate", "malformed"])
def test_broken_answers_are_transient(tmp_path: Path, fault: Any) -> None:
    left = [hang() if fault == "hang" else Reply(text="{}", fault=fault)]
    with OpenAIServer(lambda request: left.pop() if left else say(good(request))) as server:
        done = engine(server, tmp_path, request_timeout_seconds=0.7)()
    assert done.stage == "relabeled"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_for_good_stop_the_work(tmp_path: Path, status: int) -> None:
    with OpenAIServer(lambda request: refuse(status, "no")) as server:
        with pytest.raises(TerminalModelError, match="openai:gpt-4o-mini"):
            engine(server, tmp_path)()
        assert len(server.bodies) == 1


def test_a_prompt_too_long_for_the_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: refuse(400, "This model's maximum context length is 8192 tokens.")) as server:
        done = engine(server, tmp_path)()
    assert (done.stage, done.reason) == ("rejected", "context")


def test_servers_without_json_schema_are_asked_in_a_weaker_way_and_remembered(tmp_path: Path) -> None:
    def old_server(request: dict[str, Any]) -> Reply | str:
        if request.get("response_format", {}).get("type") == "json_schema":
            return refuse(400, "response_format json_schema is not supported")
        return say(good(request))

    settings = load_settings(home=tmp_path)
    with OpenAIServer(old_server, strict=False) as server:
        model = chat_model(f"openai:old,base_url={server.base_url}", settings=settings)

        async def both() -> list[Relabeling]:
            return [
                await relabel(
                    bought(trajectory_id=name), FAILED, 1, relabeler=ModelRelabeler(model), judges=[ModelJudge(model)]
                )
                for name in ("a", "b")
            ]

        done = asyncio.run(both())
        refused = [body["response_format"]["type"] for body in server.bodies].count("json_schema")
    assert [each.stage for each in done] == ["relabeled", "relabeled"]
    assert refused == 1


def test_a_400_that_no_weaker_way_mends_is_final(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: refuse(400, "bad request")) as server:
        with pytest.raises(TerminalModelError):
            engine(server, tmp_path)()
        assert len(server.bodies) == 3


def test_checks_come_before_any_judge_is_paid(tmp_path: Path) -> None:
    bad = {
        "check:same_goal": {"goal": "Please order 40 hex bolts for Lyon, for at most 100 EUR in total."},
        "check:grounding": {"goal": "Please order 41 hex bolts delivered to Lyon from the cheapest supplier."},
        "check:leak": {"goal": "Please order 40 hex bolts delivered to Lyon from Corvo."},
        "check:choice": {"goal": "Please order 40 hex bolts delivered to Lyon from the most expensive supplier."},
        "check:constraint": {"goal": "Please order 40 hex bolts delivered to Lyon, under 120 EUR in total."},
        "check:writes": {"goal": "Which supplier has the lowest price for hex bolts delivered to Lyon?"},
        "check:final_answer": {"final_answer": "I ordered 40 hex bolts for 99.00 EUR."},
    }
    for reason, changes in bad.items():
        folder = tmp_path / reason.split(":")[1]
        with OpenAIServer(answering(relabel=lambda request, changes=changes: proposal(request, **changes))) as server:
            done = engine(server, folder, max_attempts=1)()
            assert (done.stage, done.reason) == ("rejected", reason), done.detail
            assert [asks_for(body) for body in server.bodies] == ["relabel"]


def test_a_run_that_chose_worse_is_no_demonstration(tmp_path: Path) -> None:
    changes = {
        "goal": "Please order 40 hex bolts delivered to Lyon.",
        "final_answer": "I ordered 40 hex bolts from Corvo for 200.00 EUR.",
    }
    with OpenAIServer(answering(relabel=lambda request: proposal(request, **changes))) as server:
        done = engine(server, tmp_path, max_attempts=1)(bought("Corvo"))
    assert (done.stage, done.reason) == ("rejected", "check:choice")


def test_the_gate_and_the_fallback_of_the_paper(tmp_path: Path) -> None:
    with OpenAIServer(answering(relabel=lambda request: proposal(request, confidence=0.45))) as server:
        assert engine(server, tmp_path / "a")().reason == "gate"
        assert engine(server, tmp_path / "b", fallback_factor=0.8)().stage == "relabeled"
        assert engine(server, tmp_path / "c", fallback_factor=0.95)().reason == "gate"
    with OpenAIServer(
        answering(
            relabel=lambda request: proposal(request, confidence=0.45),
            judge=lambda request: verdict(request, valid=False),
        )
    ) as server:
        assert engine(server, tmp_path / "d", fallback_factor=0.8)().reason == "judge:veto"


def test_the_cap_on_tokens_stops_before_the_call(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        with pytest.raises(SpendCapReached, match="tokens_per_day"):
            engine(server, tmp_path, tokens_per_day=100)()
        assert server.bodies == []
        with pytest.raises(SpendCapReached, match="spend_per_day_usd"):
            engine(server, tmp_path, spend_per_day_usd=0.0)()
        assert server.bodies == []


def test_spend_of_earlier_processes_counts(tmp_path: Path) -> None:
    def dear(request: dict[str, Any]) -> Reply:
        return say(good(request), usage=(3_000_000, 100_000))

    with OpenAIServer(dear) as server:
        with pytest.raises(SpendCapReached):
            engine(server, tmp_path, tokens_per_day=3_100_500)()
        assert len(server.bodies) == 1
        with pytest.raises(SpendCapReached):
            engine(server, tmp_path, tokens_per_day=3_100_500)()
        assert len(server.bodies) == 1


def test_usage_and_price_are_recorded_even_when_the_reply_cannot_be_read(tmp_path: Path) -> None:
    with OpenAIServer(answering(judge=say("nonsense", usage=(1000, 100)))) as server:
        engine(server, tmp_path)()
    replies = Replies(tmp_path / "replies")
    judged = next(row for row in replies.rows() if row.purpose == "judge")
    assert (judged.prompt_tokens, judged.completion_tokens, judged.text) == (1000, 100, "nonsense")
    assert judged.cost_usd == pytest.approx(1000 * 0.4e-6 + 100 * 1.6e-6)


def test_confirmed_calls_are_not_given_again_and_still_found(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        engine(server, tmp_path)()
        replies = Replies(tmp_path / "replies")
        rows = replies.rows()
        assert len(rows) == 2
        replies.confirm(rows)
        assert replies.rows() == []
        assert Replies(tmp_path / "replies").rows() == []
        engine(server, tmp_path)()
        assert len(server.bodies) == 2


def test_a_torn_reply_is_passed_over(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        engine(server, tmp_path)()
        (path,) = (tmp_path / "replies").glob("*.jsonl")
        path.write_bytes(path.read_bytes()[:-20])
        replies = Replies(tmp_path / "replies")
        assert len(replies) == 1
        engine(server, tmp_path)()
        assert len(server.bodies) == 3, "only the reply that was lost is paid for again"


def test_two_that_ask_the_same_share_one_call(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    replies = Replies(tmp_path / "replies")
    with OpenAIServer(lambda request: say(good(request), delay_seconds=0.2)) as server:
        model = replies.remembered(chat_model(f"openai:m,base_url={server.base_url}", settings=settings))

        async def twice() -> list[Relabeling]:
            return await asyncio.gather(
                *(
                    relabel(
                        bought(), FAILED, 1, relabeler=ModelRelabeler(model), judges=[ModelJudge(model)], policy=POLICY
                    )
                    for _ in range(8)
                )
            )

        done = asyncio.run(twice())
        assert len(server.bodies) == 2
    assert {each.stage for each in done} == {"relabeled"}
    replies.close()


POLICY = Policy(marker_key=b"test")


def test_a_caller_that_is_cancelled_keeps_the_reply_that_is_being_paid_for(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    replies = Replies(tmp_path / "replies")
    with OpenAIServer(lambda request: say(good(request), delay_seconds=0.4)) as server:
        model = replies.remembered(chat_model(f"openai:m,base_url={server.base_url}", settings=settings))

        async def cut_short() -> None:
            task = asyncio.create_task(
                relabel(bought(), FAILED, 1, relabeler=ModelRelabeler(model), judges=[RulesJudge()], policy=POLICY)
            )
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cut_short())
        assert len(replies) == 1
        done = asyncio.run(
            relabel(bought(), FAILED, 1, relabeler=ModelRelabeler(model), judges=[RulesJudge()], policy=POLICY)
        )
        assert done.stage == "relabeled"
        assert len(server.bodies) == 1
    replies.close()


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from agenther_live.integrations.chat_model import chat_model
    from agenther_live.relabel import ModelJudge, ModelRelabeler, Policy, relabel
    from agenther_live.relabel.judges import ask
    from agenther_live.replies import Replies, marker_key
    from agenther_live.settings import load_settings
    from tests.relabel.build import FAILED
    from tests.relabel.world import bought

    home, url = Path(sys.argv[1]), sys.argv[2]
    replies = Replies(home / "replies")
    model = replies.remembered(chat_model(f"openai:m,base_url={url}", settings=load_settings(home=home)))

    class Dies(ModelRelabeler):
        async def propose(self, case, attempt, refused):
            made = await super().propose(case, attempt, refused)
            os.kill(os.getpid(), signal.SIGKILL)  # the reply was paid for; nothing was recorded yet
            return made

    policy = Policy(marker_key=marker_key(home))
    asyncio.run(relabel(bought(), FAILED, 1, relabeler=Dies(model), judges=[ModelJudge(model)], policy=policy))
"""


def test_a_kill_between_reply_and_record_does_not_pay_twice(tmp_path: Path) -> None:
    with OpenAIServer(answering()) as server:
        died = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), server.base_url],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OPENAI_API_KEY": ""},
            check=False,
            timeout=60,
        )
        assert died.returncode == -signal.SIGKILL
        assert len(server.bodies) == 1
        replies = Replies(tmp_path / "replies")
        model = replies.remembered(
            chat_model(f"openai:m,base_url={server.base_url}", settings=load_settings(home=tmp_path))
        )
        policy = Policy(marker_key=marker_key(tmp_path))
        done = asyncio.run(
            relabel(bought(), FAILED, 1, relabeler=ModelRelabeler(model), judges=[ModelJudge(model)], policy=policy)
        )
        assert done.stage == "relabeled"
        assert [asks_for(body) for body in server.bodies] == ["relabel", "judge"]
        replies.close()


def test_template_with_a_model_as_judge(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with OpenAIServer(answering()) as server:
        model = chat_model(f"openai:m,base_url={server.base_url}", settings=settings)
        done = asyncio.run(
            relabel(bought(), FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge(), ModelJudge(model)])
        )
    assert done.stage == "relabeled"


def test_many_at_once(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    replies = Replies(tmp_path / "replies")
    with OpenAIServer(lambda request: say(good(request), delay_seconds=0.05)) as server:
        model = replies.remembered(chat_model(f"openai:m,base_url={server.base_url}", settings=settings))

        async def all_of_them() -> list[Relabeling]:
            room = asyncio.Semaphore(16)

            async def one(number: int) -> Relabeling:
                async with room:
                    run = bought(trajectory_id=f"r{number}")
                    return await relabel(
                        run, FAILED, 1, relabeler=ModelRelabeler(model), judges=[ModelJudge(model)], policy=POLICY
                    )

            return await asyncio.gather(*(one(number) for number in range(40)))

        done = asyncio.run(all_of_them())
        assert server.max_in_flight <= 16
    assert {each.stage for each in done} == {"relabeled"}
    assert len({each.sample.sample_id for each in done if each.sample}) == 40
    replies.close()


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(HomeError):
        Replies(blocked / "replies")
