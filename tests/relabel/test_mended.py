"""Half of a surrogate pair, which UTF-8 cannot hold, in any text that relabeling is given or makes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agenther_live.labels import Verdict
from agenther_live.relabel import TemplateRelabeler, relabel, success_sample
from agenther_live.relabel.mended import mended
from agenther_live.relabel.models import Candidate, Case, Proposal, Requirement, UserGoal
from agenther_live.shards.rows.formats import encode, row
from agenther_live.trajectory import Message, Outcome, Trajectory
from tests.relabel.build import FAILED, says, system, trajectory, user, uses
from tests.relabel.lies import Proposes

HALF = "\ud83d"
PLACES = ("system", "goal", "thought", "name", "key", "argument", "result", "last", "tool", "field", "id")


def run_with(place: str, half: str = HALF) -> Trajectory:
    put = {each: half if each == place else "" for each in PLACES}
    return trajectory(
        [
            system("You help." + put["system"]),
            user("Book Arrow to Lyon for less than 5 EUR." + put["goal"]),
            *uses(
                "list_carriers" + put["name"],
                {"city" + put["key"]: "Lyon" + put["argument"]},
                '{"carriers": [{"carrier": "Arrow", "price": 12, "note": "' + put["result"] + '"}]}',
                thought=put["thought"],
            ),
            *uses("book_carrier", {"carrier": "Arrow"}, {"status": "confirmed"}),
            says("I booked Arrow." + put["last"]),
        ],
        tools=({"type": "function", "function": {"name": "book_carrier", put["field"] or "description": put["tool"]}},),
        trajectory_id="t-1" + put["id"],
    )


@dataclass
class Halves:
    """A judge that says yes in half a character."""

    name: str = "yes"

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        return Verdict(judge=self.name, is_valid=True, confidence=0.95, reason="yes" + HALF)


@pytest.mark.parametrize("place", PLACES)
def test_no_text_of_a_run_stops_relabeling_or_a_shard(place: str) -> None:
    for half in (HALF, "\ude00"):
        found = asyncio.run(relabel(run_with(place, half), FAILED, 1, relabeler=TemplateRelabeler(), judges=[Halves()]))
        assert found.sample is not None, found.detail
        assert HALF not in repr(found.model_dump())
        encode(row("trl_sft", found.sample))
        found.model_dump_json()
        learned = success_sample(run_with(place, half), Outcome(label="success"), 1)
        assert learned is not None
        learned.model_dump_json()


def test_what_parts_and_other_users_say_is_mended_too() -> None:
    class Refuses(Proposes):
        async def propose(self, case: Case, attempt: int, refused: Any) -> Proposal:
            return replace(await super().propose(case, attempt, refused), valid=False, rationale="no" + HALF)

    told = "I booked Arrow." + HALF
    for relabeler in (
        Proposes("Please book the carrier Arrow to Lyon" + HALF, told),
        Refuses("Book Arrow" + HALF, told),
    ):
        found = asyncio.run(
            relabel(
                run_with(""), FAILED.model_copy(update={"reason": HALF}), 1, relabeler=relabeler, judges=[Halves()],
                others=[UserGoal("t-2" + HALF, "Please book Bolt" + HALF)],
            )
        )  # fmt: skip
        assert found.goals[0].hindsight_goal.endswith("\ufffd")
        found.model_dump_json()


def test_what_is_whole_is_not_touched_and_two_halves_make_their_character() -> None:
    whole = run_with("goal", "\U0001f600")
    assert mended(whole) is whole
    assert mended("\ud83d\ude00") == "\U0001f600"
    asked = Requirement("Book" + HALF, (1,))
    assert mended((asked, asked)) == (replace(asked, text="Book\ufffd"),) * 2
    odd = Message(role="user", content=[{"type": "text", "text": "a", HALF: [{HALF: 1}]}])
    assert mended(odd).wire()["content"] == [{"type": "text", "text": "a", "\ufffd": [{"\ufffd": 1}]}]
