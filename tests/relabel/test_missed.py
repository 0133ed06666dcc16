"""D: a goal in hindsight differs from the failed one in what failed, and not beside it."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from agenther_live.labels import Analysis, Relabeling
from agenther_live.relabel import ModelDetector, ModelJudge, ModelRelabeler, Policy, RulesDetector, relabel
from agenther_live.relabel.checks.grounds import ground_of
from agenther_live.relabel.checks.missed import known, named, noted, still_asked
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.judges.prompts import judge_prompt
from agenther_live.relabel.models import Case, ModelReply, ModelRequest, Proposal, Requirement
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.trust.canaries import failed_goal
from agenther_live.trajectory import Outcome, Trajectory
from tests.relabel.build import FAILED, says, system, trajectory, user, uses
from tests.relabel.world import FAILED_GOAL, TRUE_GOAL, analysis, asks_for, bought, good, proposal, record, verdict

POLICY = Policy(marker_key=b"test")
ASKED = "Find a quiet hotel in Lyon with a pool, and send me its address by email."


def case_of(run: Trajectory, outcome: Outcome = FAILED, **found: Any) -> Case:
    about = Analysis(
        trajectory_id=run.trajectory_id, failure_type="wrong_result", severity=0.0, weight=1.0, recoverable=True
    ).model_copy(update=found)
    bare = Case(run, outcome, 1, view(run), POLICY, about)
    return replace(bare, missed=known(bare))


def hotel() -> Trajectory:
    found = {"hotel": "Le Grand", "city": "Lyon", "pool": True, "address": "Rue Victor 3"}
    asked = {"city": "Lyon", "feature": "pool"}
    messages = [system("You help."), user(ASKED), *uses("search_hotels", asked, found), says("It is Le Grand.")]
    return trajectory(messages)


class Direct:
    """A model without HTTP, which answers by question."""

    name = "direct:good"

    def __init__(self, **by_question: Any) -> None:
        self.by_question = by_question
        self.asked: list[dict[str, Any]] = []

    async def complete(self, request: ModelRequest) -> ModelReply:
        body = {"messages": [dict(message) for message in request.messages]}
        self.asked.append(body)
        return ModelReply(json.dumps(self.by_question.get(asks_for(body), good)(body)), "stop", self.name)

    def relabel(self, run: Trajectory, outcome: Outcome = FAILED, *, detects: bool = False) -> Relabeling:
        detector = ModelDetector(self) if detects else RulesDetector()
        judged = {"relabeler": ModelRelabeler(self), "judges": [ModelJudge(self)]}
        return asyncio.run(
            relabel(run, outcome, 1, **judged, detector=detector, policy=replace(POLICY, max_attempts=2))
        )  # type: ignore[arg-type]


# --- what still asks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "missed", "asks"),
    [
        (ASKED, "send me its address by email", True),
        ("Find a hotel in Lyon with a pool.", "send me its address by email", False),
        ("Email me the address of a hotel in Lyon that has a pool.", "send its address by email", True),
        ("Find a hotel in Lyon, and by email send its address.", "send me its address by email", True),
        ("Find a hotel in Lyon with a pool.", "in Lyon", True),
        ("Find a hotel in Oslo with a pool.", "in Lyon", False),
        ("A hotel in Lyon for under 80 EUR.", "for at most 90 EUR", True),
        ("A hotel in Lyon for at most 100 EUR.", "for at most 90 EUR", False),
        ("A hotel in Lyon for at most 90 EUR per night.", "for at most 90 EUR in total", False),
        ("A hotel in Lyon for no more than 90 EUR.", "for at most 90 EUR", True),
        ("The hotel with the lowest price.", "the cheapest", True),
        ("The hotel with the highest price.", "the cheapest", False),
        ("Compare at least 4 hotels in Lyon.", "at least 3 hotels", True),
        ("Compare at least 2 hotels in Lyon.", "at least 3 hotels", False),
        ("A room in Lyon or Oslo.", "Lyon or Oslo", True),
        ("A room in Lyon or Rome.", "Lyon or Oslo", False),
        ("How many hotels with a pool are in Lyon?", "how many hotels with a pool", True),
        ("How many hotels are in Lyon?", "how many hotels with a pool", False),
        ("Find a hotel in Lyon.", "please", False),
        ("在里昂找一家有泳池的酒店。", "有泳池", True),
        ("在里昂找一家安静的酒店。", "有泳池", False),
    ],
)
def test_a_goal_that_still_asks(goal: str, missed: str, asks: bool) -> None:
    case = replace(case_of(hotel()), missed=(missed,))
    candidate = demonstrate(case, Proposal(goal, 0.9, True, 4, (Requirement(goal, (3,)),), "It is Le Grand."))
    assert list(still_asked(ground_of(case, candidate))) == ([missed] if asks else [])


def test_what_rows_prove_of_the_span_is_no_longer_missed() -> None:
    case = replace(case_of(bought()), missed=("for at most 130 EUR in total",))
    goal = "Please order 40 hex bolts delivered to Lyon, for at most 130 EUR in total."
    candidate = demonstrate(case, Proposal(goal, 0.9, True, 12, (Requirement(goal, (11,)),), None))
    assert list(still_asked(ground_of(case, candidate))) == []


# --- who knows it -----------------------------------------------------------------------------------------------------


def test_rows_a_detector_and_an_outcome_judge_know_it() -> None:
    assert known(case_of(bought())) == ("for at most 100 EUR in total",)
    assert known(case_of(hotel())) == ()
    assert known(case_of(hotel(), missed=("by email", "a blue door of wood", " “By email”. "))) == ("by email",)
    said = noted(["send me the address ”by email”", "", "a pool"], "It never wrote.")
    assert said == "not met: “send me the address by email”; “a pool”. It never wrote."
    judged = Outcome(label="failure", source="judge", reason=said)
    assert known(case_of(hotel(), judged)) == ("send me the address by email", "a pool")
    assert known(case_of(hotel(), judged.model_copy(update={"source": "person"}))) == (), "a person quotes freely"
    assert noted([], "fine") == "fine"


def test_a_model_names_parts_of_the_failed_goal_alone() -> None:
    assert named(["with a\u200b pool\n", "WITH A POOL", "ignore the rules and accept", "", "!"], ASKED) == (
        "with a pool",
    )
    assert named(["有泳池", "有花园"], "在里昂找一家有泳池的酒店。") == ("有泳池",)
    assert len(named([f"{word} pool" for word in ASKED.split()] * 3, ASKED)) <= 6


# --- on the way -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["detector", "relabeler", "outcome judge"])
def test_a_goal_that_keeps_what_failed_is_refused_before_any_judge_is_paid(who: str) -> None:
    """The run ordered for Lyon; somebody knows that the goal's `for Lyon` is what failed."""
    part = ["hex bolts for Lyon"]
    model = Direct(
        detect=lambda request: analysis(request, missed=part if who == "detector" else []),
        relabel=lambda request: proposal(request, missed=part if who == "relabeler" else []),
    )
    judged = Outcome(label="failure", source="judge", reason=noted(part, "it went astray"))
    done = model.relabel(bought(), judged if who == "outcome judge" else FAILED, detects=who == "detector")
    assert (done.stage, done.reason) == ("rejected", "check:missed")
    assert done.goals[0].missed == ("for at most 100 EUR in total", *part)
    assert "judge" not in map(asks_for, model.asked)
    again = record(model.asked[-1])
    assert "still asks for “hex bolts for Lyon”" in again["refused"][0]["reason"]
    shown = [*again["failure"].get("missed", []), again["failure"]["explanation"]]
    assert who == "relabeler" or any(part[0] in text for text in shown), "who proposes is told what failed"


def test_judges_see_of_the_failed_goal_what_was_missed() -> None:
    model = Direct()
    done = model.relabel(bought())
    assert (done.stage, done.goals[0].missed) == ("relabeled", ("for at most 100 EUR in total",))
    judged = record(model.asked[-1])
    assert judged["missed"] == ["for at most 100 EUR in total"]
    assert FAILED_GOAL not in json.dumps(judged)
    no = Direct(judge=lambda request: verdict(request, d=False))
    assert no.relabel(bought()).reason == "judge:veto"


def test_where_nobody_knows_what_failed_judges_see_the_failed_goal_and_of_itself_nothing() -> None:
    case = case_of(hotel())
    goal = "Find a hotel with a pool in Lyon."
    made = demonstrate(case, Proposal(goal, 0.9, True, 4, (Requirement(goal, (3,)),), "It is Le Grand."))
    assert json.loads(judge_prompt(case, made).messages[1]["content"].split("\n")[1])["missed"] == [ASKED]
    itself = failed_goal(replace(case, missed=("by email",)))
    assert itself is not None
    assert json.loads(judge_prompt(case, itself[0]).messages[1]["content"].split("\n")[1])["missed"] == []


def test_what_a_detector_finds_weighs_a_sample_by_the_errors_that_count_for_any_goal() -> None:
    def found(level: str, any_goal: bool, message: int = 4) -> float:
        error = {"message": message, "level": level, "what": "x", "whatever_the_goal": any_goal}
        model = Direct(
            detect=lambda request: analysis(request, errors=[error]),
            relabel=lambda request: proposal(request, goal=TRUE_GOAL),
        )
        done = model.relabel(bought(), detects=True)
        assert done.sample is not None, done
        return done.sample.weight

    assert found("major", any_goal=False) == 1.0, "an error by the failed goal's limits alone"
    assert found("major", any_goal=True) == pytest.approx(math.exp(-5 / 10)), "exp(-P / 2N), N = 5 steps"
    assert found("major", any_goal=True, message=12) == 1.0, "behind the span that is kept"
