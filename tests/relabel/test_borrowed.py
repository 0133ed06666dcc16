"""Goals of other users: the first choice where a run reached one, and else no more than a manner of speaking."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from agenther_live.labels import Relabeling
from agenther_live.relabel import ModelJudge, ModelRelabeler, Policy, RulesJudge, TemplateRelabeler, relabel
from agenther_live.relabel.checks.turns import first_contradiction
from agenther_live.relabel.models import ModelReply, ModelRequest, UserGoal
from agenther_live.relabel.reading.calls import view
from agenther_live.replies import Replies, about
from tests.relabel.build import FAILED, says, trajectory, user, uses
from tests.relabel.world import TRUE_GOAL, asks_for, bought, good, proposal, quote, record

CHEAPEST = "We need 40 hex bolts delivered to Lyon. Please order them from the supplier with the lowest total price."
POLICY = Policy(marker_key=b"a key of these tests")


class Model:
    """A chat model that answers in this process; `asked` keeps the requests."""

    name = "test:model"

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.asked: list[dict[str, Any]] = []

    async def complete(self, request: ModelRequest) -> ModelReply:
        body = {"messages": [dict(message) for message in request.messages], "purpose": request.purpose}
        self.asked.append(body)
        answer = good(body) | self.changes.get(asks_for(body), {})
        if "stops_here" in request.schema["properties"]:
            answer |= {"stops_here": self.changes.get("stops_here", True)}
        return ModelReply(json.dumps(answer), "stop", self.name)


def run(
    model: Model | None,
    others: list[str],
    *,
    trajectory: Any = None,
    judges: Any = None,
    policy: Policy = POLICY,
) -> Relabeling:
    return asyncio.run(
        relabel(
            trajectory or bought(),
            FAILED,
            1,
            relabeler=TemplateRelabeler() if model is None else ModelRelabeler(model),
            judges=judges or [RulesJudge()],
            policy=policy,
            others=[UserGoal(text, f"other-{i}") for i, text in enumerate(others)],
        )
    )


def test_a_users_goal_that_the_run_reached_comes_first_and_costs_no_relabeler() -> None:
    model = Model()
    done = run(model, ["What do 12 washers cost in Rome?", CHEAPEST], judges=[RulesJudge(), ModelJudge(model)])
    assert done.sample is not None
    assert (done.sample.goal, done.sample.relabeler) == (CHEAPEST, "user_goal")
    assert [asks_for(each) for each in model.asked] == ["judge"]
    accepted = done.goals[-1]
    assert (accepted.attempt, accepted.method) == (0, "user_goal")
    assert accepted.requirements[0].messages, "T: it says what proves it"


def test_what_the_run_did_not_reach_is_not_taken() -> None:
    for other in (
        CHEAPEST.replace("40", "30"),
        CHEAPEST.replace("Lyon", "Metz"),
        CHEAPEST.replace("lowest total price", "fastest delivery"),
        "Please order 40 hex bolts delivered to Lyon from Acme.",
        "Please order 40 hex bolts for Lyon, for at most 100 EUR in total.",
        CHEAPEST + " Then send the invoice to our office in Metz.",
    ):
        done = run(None, [other])
        assert done.sample is None or done.sample.goal != other, other


def test_a_panel_may_refuse_it_and_the_relabeler_is_asked() -> None:
    model = Model(judge={"valid": False, "reason": "not a good demonstration"})
    done = run(model, [CHEAPEST], judges=[ModelJudge(model)])
    assert done.sample is None
    assert [asks_for(each) for each in model.asked][:2] == ["judge", "relabel"]
    assert "not a good demonstration" in record(model.asked[1])["refused"][0]["reason"]


def test_style_examples_are_shown_and_nothing_concrete_of_them_is_taken_over() -> None:
    style = ["could u pls get 12 washers to Rome, thx", "Cheapest M8 nuts for Turin please!!"]
    shown = Model()
    assert run(shown, style, judges=[ModelJudge(shown)]).sample is not None
    assert sorted(record(shown.asked[0])["style"]) == sorted(style)
    assert "style" not in record(shown.asked[1]), "judges do not see them"

    model = Model(relabel={"goal": TRUE_GOAL.replace("Lyon", "Turin")})
    done = run(model, style, judges=[ModelJudge(model)])
    assert done.sample is None
    assert {goal.reason for goal in done.goals} == {"check:style"}
    assert "another user" in record(model.asked[1])["refused"][0]["reason"], "each retry hears why"
    assert not any(word in done.model_dump_json() for word in ("Turin", "M8")), "words of others are not kept with it"
    off = Model()
    run(off, style, judges=[ModelJudge(off)], policy=Policy(marker_key=b"k", style_examples=0))
    assert "style" not in record(off.asked[0])


def test_a_reply_to_a_prompt_that_showed_others_goes_with_any_of_them(tmp_path: Path) -> None:
    replies = Replies(tmp_path)
    about.set("run-1")
    model = replies.remembered(Model(relabel={"goal": TRUE_GOAL.replace("Lyon", "Turin"), "confidence": 0.9}))
    asker = ModelRelabeler(model)
    others = [UserGoal("Cheapest M8 nuts for Turin please!!", "other-1"), UserGoal(CHEAPEST, "other-2")]
    judges = [ModelJudge(replies.remembered(Model(judge={"valid": False, "reason": f"“{CHEAPEST}” is not reached"})))]
    asyncio.run(relabel(bought(), FAILED, 1, relabeler=asker, judges=judges, policy=POLICY, others=others))
    quoting = {row.call_key for row in replies.rows() if row.purpose == "relabel"}
    judged = {row.call_key for row in replies.rows() if row.purpose == "judge"}
    assert (len(quoting), len(judged)) == (3, 1)
    assert {row.text for row in replies.rows()} == {""}, "the buffer knows one owner, so these words stay out of it"
    assert replies.erase({"other-1"}, lambda key: "00" * 32) == 3
    assert [replies.find(key) for key in judged] != [None]
    gone = [found for key in quoting if (found := replies.find(key)) is not None]
    assert {(found.text, found.finish_reason) for found in gone} == {("", "deleted")}
    assert replies.erase({"other-2"}, lambda key: "00" * 32) == 1, "the judge's, about a goal that its user wrote"
    replies.close()


def ordered_then(turn: str) -> Any:
    asked = {"item": "hex bolt", "quantity": 40, "city": "Lyon"}
    messages = [user("Please order 40 hex bolts for Lyon, for at most 100 EUR in total.")]
    messages += uses("list_suppliers", {"item": "hex bolt"}, {"suppliers": [{"supplier": "Acme"}]})
    messages += uses("get_quote", {"supplier": "Acme", **asked}, quote("Acme"))
    messages += uses("place_order", {"supplier": "Acme", **asked}, {"order_id": "PO-9", **quote("Acme")})
    messages += [says("I ordered them."), user(turn)]
    messages += uses("get_quote", {"supplier": "Acme", **asked}, quote("Acme"))
    return trajectory([*messages, says("Done.")])


def test_a_span_ends_before_the_turn_that_contradicts_the_goal() -> None:
    goal = "Please order 40 hex bolts for Lyon."
    for turn in ("Actually, make it 30 pieces.", "Cancel it!", "I changed my mind, I do not want them."):
        run_of = ordered_then(turn)
        at = next(i for i, m in enumerate(run_of.messages) if m.text == turn)
        assert first_contradiction(view(run_of), goal, len(run_of.messages)) == at, turn
        assert first_contradiction(view(run_of), goal, at) is None
    for turn in ("Thanks! What would it cost once more?", "Actually 40 for Lyon is right."):
        assert first_contradiction(view(ordered_then(turn)), goal, 99) is None, turn
    limited = "Please order 40 hex bolts for Lyon, for at most 300 EUR."
    assert first_contradiction(view(ordered_then("For at most 50 EUR, please.")), limited, 99) is not None

    def relabeled(cited: list[int]) -> Relabeling:
        model = Model(
            relabel={
                "goal": goal,
                "requirements": [{"text": "40 hex bolts are ordered", "messages": cited}],
                "last_message": 9,
                "final_answer": "I ordered 40 hex bolts from Acme.",
            }
        )
        return run(model, [], trajectory=ordered_then("Cancel it!"), judges=[ModelJudge(model)])

    done = relabeled([6])
    assert done.sample is not None
    assert [each.message.role for each in done.sample.messages] == ["user", *["assistant", "tool"] * 3, "assistant"]
    assert {goal.reason for goal in relabeled([6, 10]).goals} == {"check:turns"}


def future(stops: bool, judges: int = 1) -> Relabeling:
    class Cut(Model):
        async def complete(self, request: ModelRequest) -> ModelReply:
            body = {"messages": [dict(message) for message in request.messages]}
            if asks_for(body) == "relabel" and record(body)["messages"][-1]["i"] < 8:
                self.asked.append(body)
                last = record(body)["messages"][-1]["i"]
                goal = "Which suppliers sell hex bolts? A quote of each for 40 pieces to Lyon, too."
                asked = proposal(body, goal=goal)
                asked |= {"requirements": [{"text": "suppliers are listed", "messages": [3]}], "last_message": last}
                return ModelReply(json.dumps(asked), "stop", self.name)
            return await super().complete(request)

    model = Cut(stops_here=stops)
    panel = [ModelJudge(model)] if judges else [RulesJudge()]
    policy = Policy(marker_key=b"k", future_prefixes=2, max_attempts=1)
    return run(model, [], judges=panel, policy=policy)


def test_cut_runs_have_no_final_message_and_share_the_weight() -> None:
    done = future(stops=True)
    assert done.sample is not None
    assert done.sample.strategy == "final"
    assert [each.strategy for each in done.more] == ["future"] * len(done.more)
    assert len(done.more) >= 1
    for each in done.more:
        assert each.messages[-1].message.role == "tool", "no trained final message"
        assert each.sample_id != done.sample.sample_id
    alone = run(Model(), [], judges=[ModelJudge(Model())]).sample
    assert alone is not None
    n = 1 + len(done.more)
    assert abs(done.sample.weight * n - alone.weight) < 1e-9
    assert {goal.strategy for goal in done.goals if goal.accepted} == {"final", "future"}


def test_a_judge_who_would_go_on_refuses_a_cut_run_and_rules_cannot_tell() -> None:
    assert future(stops=False).more == ()
    refused = [goal for goal in future(stops=False).goals if goal.strategy == "future"]
    assert refused
    assert all("fails S" in goal.detail for goal in refused)
    assert future(stops=True, judges=0).more == ()


def test_verdicts_keep_their_prompt() -> None:
    done = run(Model(), [], judges=[ModelJudge(Model())])
    goal = done.goals[-1]
    assert goal.prompt_version.startswith("relabel-")
    assert goal.verdicts[0].prompt_version.startswith("judge-")
    assert done.achievements
