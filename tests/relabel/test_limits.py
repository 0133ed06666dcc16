"""Pace, hourly cap and breaker: alone with a clock of their own, and behind a server that is down."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agenther_live.errors import EndpointDown, SpendCapReached, TransientModelError
from agenther_live.integrations.chat_model import chat_model
from agenther_live.limits import Breaker, Budget, Pace
from agenther_live.relabel import ModelJudge, ModelRelabeler, relabel
from agenther_live.relabel.models import ModelReply, ModelRequest
from agenther_live.replies import Replies
from agenther_live.settings import load_settings
from tests.openai_server import OpenAIServer, refuse, say
from tests.relabel.build import FAILED
from tests.relabel.world import bought, good


class Clock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_clock_that_is_set_back_gives_no_money_anew() -> None:
    clock = Clock()
    budget = Budget(usd=1.0, tokens=1000, usd_per_hour=0.5, clock=clock)
    budget.spent(900, 0.4, clock.now)
    clock.now -= 86_400
    with pytest.raises(SpendCapReached, match="today"):
        budget.hold(200)
    clock.now += 86_400
    with pytest.raises(SpendCapReached, match="today"):
        budget.hold(200)


def test_what_a_server_advises_is_an_hour_at_most() -> None:
    """Some give an epoch time where seconds are asked for."""
    assert [TransientModelError("", retry_after=one).retry_after for one in (None, -1, 7.0, 1_763_870_000.0)] == [
        None, 0.0, 7.0, 3600.0,
    ]  # fmt: skip


def request(number: int) -> ModelRequest:
    return ModelRequest(
        purpose="judge",
        messages=({"role": "system", "content": "Answer."}, {"role": "user", "content": f"Question {number}"}),
        schema={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        schema_name="answer",
        temperature=0.0,
        prompt_version="1",
        key=f"{number:064x}",
    )


def test_no_minute_holds_more_than_the_pace() -> None:
    clock = Clock(0.0)
    pace = Pace(30, clock=clock)
    begun = []
    for _ in range(200):
        clock.now += wait if (wait := pace.reserve()) else 0.0
        begun.append(clock.now)
    assert all(sum(at <= other < at + 60 for other in begun) <= 30 for at in begun)
    assert begun[-1] < 200 / 30 * 60 * 1.1, "and it is not much slower than it may be"
    assert Pace(None).reserve(10**9) == 0.0


def test_the_cap_of_an_hour_ends_with_the_hour() -> None:
    clock = Clock(3600 * 1000 + 1800.0)
    budget = Budget(usd=100.0, tokens=10**9, usd_per_hour=1.0, clock=clock)
    budget.release(1000, budget.hold(1000))
    budget.spent(1000, 1.0, clock.now)
    with pytest.raises(SpendCapReached, match="spend_per_hour_usd"):
        budget.hold(1000)
    clock.now += 1800
    budget.release(10, budget.hold(10))
    assert budget.usd == 1.0


def test_a_breaker_opens_rests_tries_and_closes() -> None:
    clock = Clock()
    breaker = Breaker("m", clock=clock)
    for _ in range(19):
        breaker.enter()
        breaker.failed()
    breaker.worked()
    for _ in range(20):
        breaker.enter()
        breaker.failed()
    assert breaker.open
    with pytest.raises(EndpointDown, match="20 times in a row"):
        breaker.enter()
    clock.now += 10.1
    breaker.enter()
    with pytest.raises(EndpointDown):
        breaker.enter()  # one tries it, the others wait
    breaker.failed()
    clock.now += 10.1
    with pytest.raises(EndpointDown):
        breaker.enter()  # twice as long after a try that failed
    clock.now += 10
    breaker.enter()
    breaker.worked()
    breaker.enter()
    assert not breaker.open


def test_an_endpoint_that_is_down_is_left_alone_and_costs_no_trajectory_a_try(tmp_path: Path) -> None:
    replies = Replies(tmp_path / "replies")
    with OpenAIServer(lambda body: refuse(503, retry_after=0.0)) as server:
        settings = load_settings(home=tmp_path)
        model = replies.remembered(chat_model(f"openai:m,base_url={server.base_url}", settings=settings))

        async def many() -> list[ModelReply | BaseException]:
            found: list[ModelReply | BaseException] = []
            for number in range(30):
                found += await asyncio.gather(model.complete(request(number)), return_exceptions=True)
            return found

        found = asyncio.run(many())
        assert len(server.bodies) == 20
        assert [type(each) for each in found[:6]] == [TransientModelError] * 6
        assert {type(each) for each in found[7:]} == {EndpointDown}
        other = replies.remembered(chat_model(f"openai:n,base_url={server.base_url}", settings=settings))
        with pytest.raises(EndpointDown):  # one breaker for the endpoint, whatever the model
            asyncio.run(relabel(bought(), FAILED, 1, relabeler=ModelRelabeler(other), judges=[ModelJudge(other)]))
    replies.close()


def test_requests_keep_the_pace(tmp_path: Path) -> None:
    replies = Replies(tmp_path / "replies", requests_per_minute=1200)
    with OpenAIServer(lambda body: say("{}")) as server:
        model = replies.remembered(
            chat_model(f"openai:m,base_url={server.base_url}", settings=load_settings(home=tmp_path))
        )

        async def many() -> None:
            await asyncio.gather(*(model.complete(request(number)) for number in range(80)))

        began = time.monotonic()
        asyncio.run(many())
        assert len(server.requests) == 80
        assert time.monotonic() - began > 0.7, "the first burst is free, the rest comes at 20 a second"
    replies.close()


def test_good_answers_need_none_of_this(tmp_path: Path) -> None:
    replies = Replies(tmp_path / "replies", requests_per_minute=100_000, tokens_per_minute=10**9)
    with OpenAIServer(lambda body: say(good(body))) as server:
        model = replies.remembered(
            chat_model(f"openai:m,base_url={server.base_url}", settings=load_settings(home=tmp_path))
        )
        done = asyncio.run(relabel(bought(), FAILED, 1, relabeler=ModelRelabeler(model), judges=[ModelJudge(model)]))
    assert done.stage == "relabeled"
    replies.close()
