"""Calls of chat models: stored once, found again, added up by the UTC day."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select

from agenther_live.buffer.schema import llm_calls
from agenther_live.buffer.store import Buffer
from tests.buffer.journal_facts import at

NOON = at(0)


@dataclass(frozen=True)
class Asked:
    call_key: str
    purpose: str = "judge"
    model: str = "m"
    prompt_tokens: int = 100
    completion_tokens: int = 10
    cost_usd: float | None = 0.5
    status: str = "ok"
    text: str | None = "{}"
    at: datetime = NOON
    trajectory_id: str | None = None


def test_a_call_is_stored_once_and_its_reply_found(buffer: Buffer) -> None:
    assert buffer.calls([Asked("a", text="yes"), Asked("b"), Asked("a", text="no")]) == 2
    assert buffer.calls([Asked("a", text="changed"), Asked("c")]) == 1
    with buffer.reading() as tx:
        kept = dict(tx.rows(select(llm_calls.c.call_key, llm_calls.c.text)))
    assert kept.keys() == {"a", "b", "c"}
    assert kept["b"] == "{}"
    assert kept["a"] in ("yes", "no"), "the first reply stays"


def test_spend_is_that_of_the_utc_day(buffer: Buffer) -> None:
    yesterday = replace(Asked("y"), at=at(0) - timedelta(hours=12, seconds=1))
    buffer.calls([yesterday, Asked("a"), Asked("b", cost_usd=None), Asked("c", at=at(0) - timedelta(hours=12))])
    figures = buffer.status(now=at(60))
    assert (figures["llm_calls"], figures["prompt_tokens"], figures["completion_tokens"]) == (4, 400, 40)
    assert (figures["cost_usd"], figures["spend_today_usd"]) == (1.5, 1.0)


def test_nothing_spent(buffer: Buffer) -> None:
    assert buffer.status(now=at(0))["spend_today_usd"] == 0
