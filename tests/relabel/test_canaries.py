"""Canaries: made of real items, proven false, put to the panel, and never more than that."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from agenther_live.errors import SpendCapReached, TransientModelError
from agenther_live.journal.framing import decode_line
from agenther_live.labels import Analysis, Goal, Relabeling, Verdict
from agenther_live.relabel.checks.checks import contradicts, refute
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.judges.judge import RulesJudge
from agenther_live.relabel.judges.prompts import judge_prompt
from agenther_live.relabel.models import (
    Candidate,
    Case,
    ModelReply,
    ModelRequest,
    Policy,
    Proposal,
    Requirement,
    UserGoal,
)
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.trust.canaries import Probe, failed_goal, make, put_back, swapped, without_write
from agenther_live.replies import Replies, about
from agenther_live.trajectory import Outcome, Trajectory
from tests.relabel.build import FAILED, says, system, trajectory, user, uses
from tests.relabel.world import FAILED_GOAL, TRUE_GOAL, bought

GOAL = "Compare the quotes for 40 hex bolts to Lyon, and order them from the supplier with the lowest total price."
OTHERS = ("Book a flight from Lyon to Oslo for 2 people.", "Please order 60 rivets for Nantes, for at most 300 EUR.")
OTHER_RUNS = tuple(UserGoal(goal, f"other-{number}") for number, goal in enumerate(OTHERS))


def case_of(run: Trajectory, outcome: Outcome = FAILED) -> Case:
    analysis = Analysis(
        trajectory_id=run.trajectory_id, failure_type="constraint_violation", severity=0.1, weight=0.9, recoverable=True
    )
    return Case(run, outcome, 1, view(run), Policy(), analysis)


def item(case: Case, goal: str = TRUE_GOAL) -> Candidate:
    """What a panel sees of the run: a goal that is true of it."""
    results = sorted(case.view.observation_indices)
    requirements = (
        Requirement("40 hex bolts are ordered for Lyon", (results[-1],)),
        Requirement("no quote is lower", tuple(results[1:4])),
    )
    answer = "I ordered 40 hex bolts from Bolt & Co for 124.00 EUR."
    return demonstrate(case, Proposal(goal, 0.9, True, results[-1] + 1, requirements, answer))


class House:
    """A judge of a user's own, who says what `answer` says of a goal."""

    name = "house"

    def __init__(self, answer: Callable[[str], bool] = lambda goal: True) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        self.asked.append(candidate.goal)
        return Verdict(judge=self.name, is_valid=self.answer(candidate.goal), confidence=0.8, prompt_version="own-1")


def closed(probe: Probe, case: Case, relabeling: Relabeling) -> Relabeling:
    return asyncio.run(probe.closed(case.trajectory, case.outcome, 1, case.policy, relabeling))


def relabeled(case: Case, *goals: Goal) -> Relabeling:
    return Relabeling(
        trajectory_id=case.trajectory.trajectory_id,
        stage="rejected",
        reason="judge:veto",
        analysis=case.analysis,
        goals=goals,
    )


def proposed(case: Case, text: str, method: str = "openai:gpt-4o-mini") -> Goal:
    return Goal(goal_id="g", trajectory_id=case.trajectory.trajectory_id, hindsight_goal=text, method=method)


# --- what is made -----------------------------------------------------------------------------------------------------


def test_every_kind_is_made_and_proven_false() -> None:
    kinds = set()
    for number in range(24):
        case = case_of(bought(trajectory_id=f"run-{number}"))
        good = item(case, GOAL)
        assert refute(case, good) is None
        found = make(case, good, OTHERS)
        assert found is not None
        kind, bad, proven = found
        kinds.add(kind)
        assert proven
        assert contradicts(case, bad) is not None
        assert bad.goal != good.goal
        told = [bad.goal, *(each.text for each in bad.proposal.requirements)]
        assert kind != "number" or not any("40" in text.split() for text in told), "the claim must not give it away"
        again = make(case, good, OTHERS)
        assert again is not None
        assert again[1].goal == bad.goal
    assert kinds == {"foreign", "number", "entity", "write_left_out", "requirement_back", "failed_goal"}


def test_the_sample_is_shown_as_it_would_be_trained() -> None:
    case = case_of(bought(trajectory_id="run-3"))
    found = make(case, item(case), OTHERS)
    assert found is not None
    kind, bad, _ = found
    prompt = bad.messages[1].message
    assert prompt.role == "user"
    assert prompt.text == bad.goal, kind
    assert any(each.train for each in bad.messages)


def test_a_chat_model_is_asked_as_about_any_other_item() -> None:
    for number in range(12):
        case = case_of(bought(trajectory_id=f"run-{number}"))
        good = item(case, GOAL)
        found = make(case, good, OTHERS)
        assert found is not None
        bad = found[1]
        prompt, usual = judge_prompt(case, bad), judge_prompt(case, good)
        assert (prompt.messages[0], prompt.version) == (usual.messages[0], usual.version)
        shown = json.loads(prompt.messages[1]["content"].split("\n")[1])
        assert shown["goal"] == bad.goal
        assert shown.keys() == json.loads(usual.messages[1]["content"].split("\n")[1]).keys()
        assert GOAL not in json.dumps(shown)


def test_swaps_take_from_the_evidence() -> None:
    run = bought()
    for seed in range(20):
        swap = swapped(TRUE_GOAL, view(run), random.Random(seed), ("number",))
        assert swap is not None
        assert swap.old == "40"
        assert swap.new in {"124", "168", "200"}, "totals that the quotes name"
        assert swap.goal == TRUE_GOAL.replace("40", swap.new)
    assert swapped("Buy some bolts.", view(run), random.Random(1), ("number",)) is None


def test_a_write_is_left_out_and_a_limit_put_back() -> None:
    seen = view(bought())
    assert without_write(GOAL, seen) == "Compare the quotes for 40 hex bolts to Lyon,"
    assert without_write("Order 40 hex bolts.", seen) is None, "nothing would be left"
    assert put_back(TRUE_GOAL, FAILED_GOAL) == f"{TRUE_GOAL[:-1]}, for at most 100 EUR in total."
    assert put_back(TRUE_GOAL, "Please order bolts.") is None


def test_without_another_goal_there_is_no_foreign_one() -> None:
    for number in range(20):
        case = case_of(bought(trajectory_id=f"run-{number}"))
        found = make(case, item(case), [TRUE_GOAL, FAILED_GOAL.upper()] if number % 2 else [])
        assert found is None or found[0] != "foreign" or number % 2


# --- the failed goal --------------------------------------------------------------------------------------------------


def asked_for_a_name() -> Trajectory:
    """A run that its source calls failed, and that no row of a result refutes."""
    goal = "Who directed the film Heat?"
    found = {"film": "Heat", "director": "Michael Mann", "year": 1995}
    return trajectory(
        [system("Answer."), user(goal), *uses("search_films", {"title": "Heat"}, found), says("Michael Mann")]
    )


def test_a_failed_goal_that_rows_refute_is_a_canary_like_any_other() -> None:
    found = failed_goal(case_of(bought()))
    assert found is not None
    assert found[1], "168 EUR were above the limit"


def test_a_failed_goal_that_nothing_refutes_puts_the_outcome_in_dispute() -> None:
    case = case_of(asked_for_a_name())
    probe = Probe([RulesJudge(), House()], chosen=False)
    [canary] = closed(probe, case, relabeled(case, proposed(case, case.trajectory.goal.upper()))).canaries
    assert (canary.kind, canary.proven, canary.disputes) == ("failed_goal", False, True)
    assert [verdict.judge for verdict in canary.verdicts] == ["house"], "rules know that it failed: they are not asked"


@pytest.mark.parametrize(
    ("why", "judges", "outcome", "text", "method"),
    [
        ("a judge says no", [House(), House(lambda goal: False)], FAILED, None, "model"),
        ("only rules judge", [RulesJudge()], FAILED, None, "model"),
        ("a person said that it failed", [House()], Outcome(label="failure", source="person"), None, "model"),
        ("nobody claimed it", [House()], FAILED, "Find a film of 1995.", "model"),
        ("a template claims nothing", [House()], FAILED, None, "template"),
    ],
)
def test_no_dispute(why: str, judges: list[House], outcome: Outcome, text: str | None, method: str) -> None:
    case = case_of(asked_for_a_name(), outcome)
    goal = proposed(case, text or case.trajectory.goal, method)
    found = closed(Probe(judges, chosen=False), case, relabeled(case, goal))
    assert not any(canary.disputes for canary in found.canaries), why


# --- beside a relabeling ----------------------------------------------------------------------------------------------


def judged_by(probe: Probe, case: Case) -> None:
    for judge in probe.judges:
        asyncio.run(judge.judge(case, item(case)))


def test_every_judge_but_rules_is_asked_about_the_canary() -> None:
    first, second = House(lambda goal: goal == TRUE_GOAL), House()
    case = case_of(bought())
    probe = Probe([RulesJudge(), first, second], chosen=True, others=OTHER_RUNS)
    assert [judge.name for judge in probe.judges] == ["rules", "house", "house"]
    judged_by(probe, case)
    [canary] = closed(probe, case, relabeled(case)).canaries
    assert canary.proven
    assert [canary.accepted_by(verdict) for verdict in canary.verdicts] == [False, True], (
        "no judge's no spares the next"
    )
    assert first.asked == second.asked == [TRUE_GOAL, canary.goal]
    assert not canary.accepted_by(canary.verdicts[1].model_copy(update={"confidence": 0.4}))
    assert not canary.accepted_by(canary.verdicts[1].model_copy(update={"status": "unanswered"}))


def test_no_canary_of_what_was_not_chosen_or_never_reached_the_panel() -> None:
    case, house = case_of(bought()), House()
    probe = Probe([house], chosen=False)
    assert probe.judges[0] is house
    judged_by(probe, case)
    assert closed(probe, case, relabeled(case)).canaries == ()
    assert closed(Probe([house], chosen=True), case, relabeled(case)).canaries == ()
    assert closed(Probe([RulesJudge()], chosen=True), case, relabeled(case)).canaries == ()


@pytest.mark.parametrize(
    "error", [TransientModelError("busy"), SpendCapReached("used up"), ZeroDivisionError("a judge of one's own")]
)
def test_a_judge_that_breaks_costs_the_canary_and_not_the_label(error: Exception) -> None:
    class Broken(House):
        async def judge(self, case: Case, candidate: Candidate) -> Verdict:
            if candidate.goal != TRUE_GOAL:
                raise error
            return await super().judge(case, candidate)

    case = case_of(bought())
    probe = Probe([Broken()], chosen=True, others=OTHER_RUNS)
    judged_by(probe, case)
    before = relabeled(case)
    assert closed(probe, case, before) == before


def test_a_watched_judge_is_the_judge_itself() -> None:
    house = House()
    house.theta = 0.9  # type: ignore[attr-defined]  # whatever a judge has besides
    probe = Probe([house], chosen=True)
    assert probe.judges[0].theta == 0.9  # type: ignore[attr-defined]


def test_the_same_stream_gives_the_same_canaries() -> None:
    def goals() -> list[str]:
        found = []
        for number in range(10):
            case = case_of(bought(trajectory_id=f"run-{number}"))
            probe = Probe([House()], chosen=True, others=OTHER_RUNS)
            judged_by(probe, case)
            found += [canary.canary_id for canary in closed(probe, case, relabeled(case)).canaries]
        return found

    assert len(set(goals())) == 10
    assert goals() == goals()


class Echo:
    """A model whose reply quotes the goal that it was asked about."""

    name = "echo"

    async def complete(self, request: ModelRequest) -> ModelReply:
        return ModelReply(f"it asks: {request.messages[0]['content']}", "stop", self.name)


def test_a_reply_about_a_foreign_goal_goes_with_either_run(tmp_path: Path) -> None:
    replies = Replies(tmp_path)
    model = replies.remembered(Echo())

    class Quoting(House):
        async def judge(self, case: Case, candidate: Candidate) -> Verdict:
            message = {"role": "user", "content": candidate.goal}
            await model.complete(ModelRequest("judge", (message,), {}, "v", 0.0, "1", key=candidate.goal))
            return await super().judge(case, candidate)

    kinds = set()
    for number in range(40):
        case = case_of(bought(trajectory_id=f"run-{number}"))
        about.set(case.trajectory.trajectory_id)
        probe = Probe([Quoting()], chosen=True, others=OTHER_RUNS)
        judged_by(probe, case)
        kinds |= {canary.kind for canary in closed(probe, case, relabeled(case)).canaries}
    assert "foreign" in kinds
    [theirs] = [other for other in OTHER_RUNS if any(other.text in row.text for row in stored(tmp_path))]
    assert not any(theirs.text in row.text for row in replies.rows()), "the buffer keeps the words of one owner alone"
    paid = len(stored(tmp_path))
    assert replies.erase({theirs.trajectory_id}, lambda key: "00" * 32) == 1
    assert not any(theirs.text in row.text for row in stored(tmp_path))
    assert len(stored(tmp_path)) == paid, "what it cost stays"
    assert {row.call_key for row in stored(tmp_path)} == {row.call_key for row in replies.rows()}
    replies.close()


class Row(NamedTuple):
    call_key: str
    text: str


def stored(folder: Path) -> list[Row]:
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    return [Row(row["key"], row["text"]) for row in map(decode_line, lines) if row]
