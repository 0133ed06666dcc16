"""Where no one model had the whole conversation, each of its models gives a sample: word for word what it was shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agenther_live import Live
from agenther_live.assemble import Told, subagent, subagents
from agenther_live.labels import Sample, Verdict
from agenther_live.relabel import RulesJudge, TemplateRelabeler, relabel
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.relabel.lanes import parts
from agenther_live.relabel.models import Candidate, Case, Policy, Proposal, Requirement
from agenther_live.relabel.trust.canaries import Probe
from agenther_live.shards.rows.pairing import failure
from agenther_live.trajectory import Outcome, Trajectory
from tests.capture.kit import Recording, drive, user
from tests.openai_server import OpenAIServer
from tests.relabel import shapes
from tests.relabel.shapes import form
from tests.whole import TEMPLATE

FAILED = Outcome(label="failure", source="evaluator", reason="not what was asked")
PLAN, INVOICE = "Could you get the plan with customer C-7?", "I need you to get the invoice with customer C-7."

# Shape, play, whether it is spliced; samples in hindsight and of a success: roles as letters, trained ones large.
TABLE: list[tuple[shapes.Shape, Any, bool, dict[str, str], str | None]] = [
    (shapes.branches, shapes.BRANCHES, True, {PLAN: "suAtA", INVOICE: "suAtA"}, "suA"),
    (shapes.chain, shapes.CHAIN, True, {}, "suA"),
    (shapes.planned, shapes.PLANNED, True, {PLAN: "suaAtA"}, "suaAtA"),
    (shapes.looked_up, shapes.LOOKED_UP, True, {}, "suA"),
    (shapes.supervised, shapes.SUPERVISED, False, {PLAN: "suatAtA"}, "suAtaatAtaatA"),
    (shapes.swarm, shapes.SWARM, False, {PLAN: "suatAtA"}, "suatAtA"),
    (shapes.mapped, shapes.both_customers, True, {PLAN: "suAtA", PLAN.replace("7", "8"): "suAtA"}, None),
    (shapes.routed, shapes.ROUTED, False, {PLAN: "suAtA"}, "suAtA"),
    (shapes.blind_chain, shapes.CHAIN, True, {}, None),
    (shapes.beside, shapes.BESIDE, True, {}, None),
    (shapes.beside_within, shapes.BESIDE, False, {}, None),
    (shapes.criticised, shapes.CRITICISED, True, {}, "suauA"),
    (shapes.voted, shapes.VOTED, True, {PLAN: "suAtA"}, None),
    (shapes.told_by_prompt, shapes.TOLD_BY_PROMPT, True, {}, None),
    (shapes.told_by_tool, shapes.TOLD_BY_TOOL, True, {}, None),
]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path)
    yield made
    made.writer.close()


def played(recording: Recording, shape: shapes.Shape, play: Any) -> tuple[Trajectory, list[Any]]:
    """A run of a shape, and what each request was shown, what it was answered, what it could call."""
    with OpenAIServer(play if callable(play) else shapes.speaks(play)) as server:
        drive(recording.attach(shape(server)), user(shapes.QUESTION))
        return recording.only(), shapes.heard(server)


def relabeled(run: Trajectory) -> Any:
    return asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))


def spliced_within(run: Trajectory) -> list[Any]:
    return [run.nested[path] for path in (run.seen.spliced if run.seen else ())]


def letters(sample: Sample) -> str:
    return "".join(
        each.message.role[0].upper() if each.train else each.message.role[0].lower() for each in sample.messages
    )


def were_heard(run: Trajectory, told: list[Any]) -> bool:
    """Whether each lane is what one model was shown and said."""
    if run.seen is None:
        return True
    lanes = [[form(run.seen.messages[place]) for place in lane.messages] for lane in run.seen.lanes]
    return all(any([*prompt, reply] == lane for prompt, reply, _ in told) for lane in lanes)


def is_literal(sample: Sample, told: list[Any]) -> bool:
    """Whether a model was shown all of it before each reply that is trained, but for the goal and what was written."""
    kept = [each for each in sample.messages if not each.rewritten]
    said = [form(each.message) for each in kept]
    if sample.kind == "hindsight":
        goal = next(i for i, each in enumerate(kept) if each.message.text == sample.goal)
    trained = [i for i, each in enumerate(kept) if each.train]

    def alike(index: int, shown: list[str]) -> bool:
        return len(shown) > index and (shown[index] == said[index] or (sample.kind == "hindsight" and index == goal))

    return all(
        any(
            len(prompt) == at
            and all(alike(i, prompt) for i in range(at))
            and reply == said[at]
            and tools == list(sample.tools or ())
            for prompt, reply, tools in told
        )
        for at in trained
    ) and any(all(alike(i, [*prompt, reply]) for i in range(len(said))) for prompt, reply, _ in told)


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize(
    ("shape", "play", "spliced", "hindsight", "success"), TABLE, ids=lambda v: getattr(v, "__name__", "")
)
def test_every_sample_is_a_conversation_that_a_model_had(
    recording: Recording, shape: Any, play: Any, spliced: bool, hindsight: dict[str, str], success: str | None
) -> None:
    run, told = played(recording, shape, play)
    assert ("spliced" in run.flags) == spliced
    assert were_heard(run, told)
    for inner in subagents(run):  # what is said of the whole is not said of it
        assert ("spliced" in inner.flags) == (inner.seen is not None) == (inner.messages in spliced_within(run))
        assert were_heard(inner, told)
    made = relabeled(run)
    samples = [each for each in (made.sample, *made.more) if each is not None]
    assert {
        each.goal.replace("I need you to get the plan", PLAN[:22]).rstrip(".?"): letters(each) for each in samples
    } == {goal.rstrip(".?"): said for goal, said in hindsight.items()}
    assert {each.strategy for each in samples} <= {"final" if shape is shapes.routed else "lane"}
    assert sum(each.weight for each in samples) == pytest.approx(1.0 if samples else 0.0)
    learned = success_sample(run, Outcome(label="success"), 1)
    assert (learned and letters(learned)) == success
    assert all(is_literal(each, told) for each in (*samples, *([learned] if learned else ())))
    assert (failure(run, 1) is None) == (spliced or success is None), (
        "the whole of a spliced run is no example of anything"
    )
    # Numbers of messages are those of the run's own conversation.
    assert all(run.messages[index].role in ("assistant", "tool") for goal in made.goals for index in goal.evidence)


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize(
    ("shape", "play", "hindsight", "success"),
    [
        (shapes.branches, shapes.BRANCHES, [PLAN, INVOICE], "suA"),
        (shapes.mapped, shapes.both_customers, [PLAN], None),  # of the customer whose question does not stand last
        (shapes.supervised, shapes.SUPERVISED, [PLAN], "suAtaatAtaatA"),
    ],
)
def test_a_sub_agent_is_learned_as_the_same_graph_alone(
    recording: Recording, shape: Any, play: Any, hindsight: list[str], success: str | None
) -> None:
    """A graph of several models, asked by a tool of an agent that calls tools itself."""
    with OpenAIServer(shapes.leads(play)) as server:
        drive(recording.attach(shapes.led(server, shape(server))), user(shapes.QUESTION))
        run, told = recording.only(), shapes.heard(server)
    assert run.seen is not None
    assert "spliced" not in run.flags
    assert parts(run) == ()
    assert {lane.path.partition("/")[0] for lane in run.seen.lanes} == {"research"}
    plain = run.model_copy(update={"seen": None})
    assert relabeled(run) == relabeled(plain)  # of the run itself they say nothing
    won = Outcome(label="success")
    assert success_sample(run, won, 1) == success_sample(plain, won, 1)

    inner = subagent(run, "research")
    assert inner.seen is not None
    assert ("spliced" in inner.flags) == (shape is not shapes.supervised)
    assert were_heard(inner, told)
    assert Trajectory.model_validate_json(Told.of(inner).payload()) == inner
    first, *rest = run.seen.lanes  # where an agent outside goes on with what one within was told, nothing is
    shared = run.seen.model_copy(update={"lanes": (first.model_copy(update={"steps": run.steps}), *rest)})
    mixed = subagent(run.model_copy(update={"seen": shared}), "research")
    assert mixed.seen is None or mixed.seen.lanes == ()
    if shape is shapes.mapped and "C-7" in inner.goal:  # two beside each other: what was asked last is what failed
        hindsight = [goal.replace("C-7", "C-8") for goal in hindsight]
    made = relabeled(inner)
    samples = [each for each in (made.sample, *made.more) if each is not None]
    assert sorted(
        each.goal.replace("I need you to get the plan", PLAN[:22]).rstrip(".?") for each in samples
    ) == sorted(goal.rstrip(".?") for goal in hindsight)
    learned = success_sample(inner, won, 1)
    assert (learned and letters(learned)) == success
    assert all(is_literal(each, told) for each in (*samples, *([learned] if learned else ())))


# --- what the whole run's outcome may not do --------------------------------------------------------------------------


class Yes:
    """A judge that accepts; of a run of one customer it may give no answer."""

    name = "yes"

    def __init__(self, silent_about: str = "nobody") -> None:
        self.silent_about = silent_about

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        silent = self.silent_about in candidate.goal
        return Verdict(judge="yes", is_valid=not silent, confidence=0.9, status="unanswered" if silent else "ok")


class Parrot:
    """A relabeler that says of each lane that it did all that the user had asked of the run."""

    name = "parrot"

    async def propose(self, case: Case, attempt: int, refused: Any) -> Proposal:
        shown = tuple(call.observed_at for call in case.view.calls if call.observed_at is not None)
        proof = (Requirement(shapes.QUESTION, shown),)
        return Proposal(shapes.QUESTION, 0.9, True, max(shown) + 1, proof, "Done.", method="parrot")


def test_a_lane_puts_no_outcome_in_dispute(recording: Recording) -> None:
    """Whether a lane did what it was asked is no word about the run, whatever relabeler and judges hold of it."""
    run, _ = played(recording, shapes.branches, shapes.BRANCHES)
    probe = Probe([Yes()], chosen=True)
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=Parrot(), judges=probe.judges))
    assert {goal.reason for goal in made.goals} == {"check:same_goal"}
    assert made.detail.startswith(("plans: ", "invoices: "))
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=probe.judges))
    closed = asyncio.run(probe.closed(run, FAILED, 1, Policy(), made))
    assert made.sample is not None
    assert not any(canary.kind == "failed_goal" for canary in closed.canaries)


def test_a_judge_that_is_silent_about_one_lane_leaves_the_run_for_later(recording: Recording) -> None:
    run, _ = played(recording, shapes.mapped, shapes.both_customers)
    assert Told(Told.of(run).fields).trajectory == run == Trajectory.model_validate_json(Told.of(run).payload())
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[Yes("C-8")]))
    assert (made.stage, made.sample, made.more) == ("errored", None, ())
    assert sorted(goal.accepted for goal in made.goals) == [False, True]
    again = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[Yes()]))
    assert len({goal.goal_id for goal in again.goals}) == len({again.sample.sample_id, again.more[0].sample_id}) == 2


@pytest.mark.parametrize("flag", ["truncated", "partial_tree"])
def test_what_was_cut_at_capture_has_no_lanes(recording: Recording, flag: str) -> None:
    run, _ = played(recording, shapes.branches, shapes.BRANCHES)
    cut = run.model_copy(update={"flags": (*run.flags, flag)})
    assert (parts(cut), success_sample(cut, Outcome(label="success"), 1)) == ((), None)


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_lanes_reach_the_shards(home: Path) -> None:
    play = {**shapes.BRANCHES, "You know bills.": shapes.BRANCHES["You know invoices."]}
    with (
        OpenAIServer(shapes.speaks(play)) as server,
        Live(home, shard_seconds=0, formats=["trl_sft", "goal_contrast"], max_lanes=2, **TEMPLATE) as live,
    ):
        graph = live.attach(shapes.branches(server, bills=shapes.get_invoice), name="desk")
        drive(graph, user(shapes.QUESTION), {"configurable": {"thread_id": "t"}})
        live.feedback(thread_id="t", success=False)
        live.run_until_idle()
        found = live.buffer.sql("SELECT kind, strategy, weight FROM samples ORDER BY kind").fetchall()
        assert found == [("hindsight", "lane", 0.5), ("hindsight", "lane", 0.5)]
        assert live.buffer.sql("SELECT DISTINCT reason FROM derived WHERE kind = 'contrast'").fetchall() == [("lane",)]
        rows = [
            json.loads(line)
            for path in live.home.shards.glob("trl_sft/*.jsonl")
            for line in path.read_text().splitlines()
        ]
        told = [prompt for prompt, _, _ in shapes.heard(server)]
        # Of the third one, what it might have given is counted.
        assert live.buffer.sql("SELECT n FROM counters WHERE name = 'lanes_left_out'").fetchall() == [(1,)]
        assert live.status()["lanes_left_out"] == 1
        [[key]] = live.buffer.sql("SELECT trajectory_id FROM trajectories").fetchall()
        run = live.buffer.trajectory(key)
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=None, judges=[RulesJudge()], policy=Policy(max_lanes=2)))
    assert made.detail.endswith("captured and analysed only (max_lanes: 1 further lanes were not looked at)")
    assert [[message["role"][0] for message in row["messages"]] for row in rows] == [list("suata")] * 2
    assert [row["train"] for row in rows] == [[False, False, True, False, True]] * 2
    assert {row["messages"][0]["content"] for row in rows} <= {json.loads(prompt[0])[1] for prompt in told}
