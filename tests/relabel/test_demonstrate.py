"""The sample as it is trained: what is masked, cut, replaced and taken out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agenther_live.labels import Relabeling, Sample
from agenther_live.relabel import Policy, RulesJudge, TemplateRelabeler, relabel, success_sample
from agenther_live.relabel.demonstrate import cites, content_hash, with_goal
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.signals import signals
from agenther_live.trajectory import Action, Message, Outcome, Step, Trajectory
from tests.relabel.build import FAILED, says, system, trajectory, user, uses
from tests.relabel.world import FAILED_GOAL, OFFERS, TOOLS, bought, quote

SUCCESS = Outcome(label="success", source="person")


def relabeled(run: Trajectory, **options: Any) -> Relabeling:
    return asyncio.run(
        relabel(run, FAILED, 1, **{"relabeler": TemplateRelabeler(), "judges": [RulesJudge()]} | options)
    )


def sample_of(run: Trajectory) -> Sample:
    done = relabeled(run)
    assert done.sample is not None, (done.reason, done.detail)
    return done.sample


def trained(sample: Sample) -> list[int]:
    return [index for index, each in enumerate(sample.messages) if each.train]


def test_only_the_assistant_is_trained_and_the_prompt_asks_for_the_new_goal() -> None:
    sample = sample_of(bought())
    assert {each.message.role for each in sample.messages if each.train} == {"assistant"}
    assert sample.messages[0].message.text == "You buy things. Orders are allowed."
    assert sample.messages[1].message.text == sample.goal
    assert sample.tools == TOOLS
    assert sample.weight == 1.0


def test_earlier_turns_are_context_and_never_trained() -> None:
    run = bought()
    before = [system("s"), user("Hello"), says("Hello! I ordered nothing yet.")]
    moved = trajectory([*before, *[m.wire() for m in run.messages[1:]]], goal=FAILED_GOAL, tools=TOOLS, context_len=3)
    sample = sample_of(moved)
    assert trained(sample)[0] > 3
    assert [each.message.wire() for each in sample.messages[:3]] == before
    assert sample.messages[3].message.text == sample.goal


def test_a_failed_call_is_masked_and_one_right_retry_after_a_timeout_is_kept() -> None:
    asked = {"item": "hex bolt", "quantity": 40, "city": "Lyon"}
    messages = [system("Orders are allowed."), user(FAILED_GOAL)]
    messages += uses("list_suppliers", {"item": "hex bolt"}, {"suppliers": [{"supplier": name} for name in OFFERS]})
    wrong = len(messages)
    messages += uses("get_quote", {"supplier": "Nobody", **asked}, "Error: unknown supplier")
    slow = len(messages)
    messages += uses("get_quote", {"supplier": "Acme", **asked}, "Error: timed out after 30 s")
    for name in OFFERS:
        messages += uses("get_quote", {"supplier": name, **asked}, quote(name))
    messages += uses("place_order", {"supplier": "Bolt & Co", **asked}, {"order_id": "PO-1"} | quote("Bolt & Co"))
    run = trajectory([*messages, says("Ordered.")], errors=frozenset({wrong + 1, slow + 1}), tools=TOOLS)
    sample = sample_of(run)
    assert wrong not in trained(sample)
    assert slow in trained(sample)
    assert 0.7 < sample.weight < 1.0


def test_the_false_part_of_a_run_is_cut_and_a_lie_about_a_write_discards_it() -> None:
    run = trajectory([*[m.wire() for m in bought().messages[:-3]], says("Done! I ordered the bolts.")], tools=TOOLS)
    done = relabeled(run)
    assert done.analysis is not None
    assert (done.stage, done.reason, done.analysis.failure_type) == ("rejected", "severity", "hallucination")
    assert done.analysis.weight < 0.3
    assert "I ordered the bolts" in done.detail


def test_thoughts_that_argue_for_the_old_goal_are_taken_out() -> None:
    run = bought()
    messages = [m.wire() for m in run.messages]
    messages[2]["content"] = "The user wants 40 hex bolts for Lyon, for at most 100 EUR in total."
    messages[2]["reasoning_content"] = "At most 100 EUR, they said."
    sample = sample_of(trajectory(messages, tools=TOOLS))
    assert sample.messages[2].message.text == ""
    assert "reasoning_content" not in sample.messages[2].message.wire()
    assert sample.messages[2].train
    assert sample.messages[10].message.text == "", "where one thought argues, those beside it go too"


@pytest.mark.parametrize(
    ("thought", "gone"),
    [
        ("It is not quite what was asked, but I go for Bolt & Co.", True),
        ("It isn't exactly what the customer wanted. I take Bolt & Co.", True),
        ("Bolt & Co it is, which is just what was asked.", False),
    ],
)
def test_a_thought_that_finds_it_short_of_the_request_is_taken_out(thought: str, gone: bool) -> None:
    run = bought()
    at = max(index for index, message in enumerate(run.messages) if message.tool_calls)
    words = run.messages[at].wire() | {"content": thought}
    sample = sample_of(trajectory([m.wire() if i != at else words for i, m in enumerate(run.messages)], tools=TOOLS))
    assert (sample.messages[at].message.text == "") is gone
    assert at in trained(sample)


def test_thoughts_that_serve_any_goal_stay() -> None:
    assert sample_of(bought()).messages[10].message.text == "I go for this one."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The budget is 100 EUR.", True),
        ("They want hex bolts for Lyon, for at most a hundred.", True),
        ("Let me see who sells hex bolts.", False),
        ("", False),
    ],
)
def test_what_cites_the_old_goal(text: str, found: bool) -> None:
    assert cites(text, FAILED_GOAL, "Order 40 hex bolts delivered to Lyon from the cheapest supplier.") is found


def test_messages_with_placeholders_are_never_trained() -> None:
    messages = [m.wire() for m in bought().messages]
    messages[10]["content"] = "I use [SECRET:api_key:0123456789ab] here."
    sample = sample_of(trajectory(messages, tools=TOOLS))
    assert 10 not in trained(sample)


@pytest.mark.parametrize("flag", ["truncated", "spliced"])
def test_what_no_model_saw_as_it_stands_is_no_demonstration(flag: str) -> None:
    cut = bought().model_copy(update={"flags": (flag,)})
    assert relabeled(cut).reason == f"check:{flag}"
    assert success_sample(cut, SUCCESS, 1) is None


def test_the_goal_is_replaced_in_place_where_it_stands_in_a_longer_message() -> None:
    wrapped = with_goal(Message(role="user", content="Task:\nDo A.\nBegin!"), "Do A.", "Do B.")
    assert wrapped.text == "Task:\nDo B.\nBegin!"
    parts = Message(
        role="user", content=[{"type": "text", "text": "Do A."}, {"type": "image_url", "image_url": {"url": "x"}}]
    )
    changed = with_goal(parts, "Do A.", "Do B.")
    assert changed.content == [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Do B."}]


def test_parallel_calls_are_kept_together() -> None:
    run = bought()
    messages = [m.wire() for m in run.messages]
    quotes = messages[4:10]
    together = {**quotes[0], "tool_calls": [call for m in quotes[::2] for call in m["tool_calls"]]}
    sample = sample_of(trajectory([*messages[:4], together, *quotes[1::2], *messages[10:]], tools=TOOLS))
    assert [each.message.role for each in sample.messages] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "tool", "tool", "assistant", "tool", "assistant")
    ]
    assert trained(sample) == [2, 4, 8, 10]


def test_a_second_message_of_the_user_ends_what_rules_can_judge() -> None:
    messages = [m.wire() for m in bought().messages]
    done = relabeled(
        trajectory([*messages[:4], says("Which city?"), user("Lyon, please."), *messages[4:]], tools=TOOLS)
    )
    assert (done.stage, done.sample) == ("rejected", None) or done.sample is not None
    if done.sample is not None:
        assert [each.message.role for each in done.sample.messages].count("user") == 1


def test_success_samples() -> None:
    run = bought(goal="Please order 40 hex bolts for Lyon from the cheapest supplier.")
    sample = success_sample(run, SUCCESS, 3)
    assert sample is not None
    assert sample.kind == "success"
    assert sample.goal == run.goal
    assert trained(sample) == [2, 4, 6, 8, 10, 12]
    assert sample == success_sample(run, SUCCESS, 3)
    again = success_sample(run, SUCCESS, 4)
    assert again is not None
    assert again.sample_id != sample.sample_id
    assert again.content_hash == sample.content_hash
    assert success_sample(run, FAILED, 3) is None


def test_duplicates_are_told_by_content_whatever_their_call_ids() -> None:
    first, second = sample_of(bought(trajectory_id="same")), sample_of(bought(trajectory_id="same"))
    assert first.messages != second.messages, "the calls have other ids"
    assert first.content_hash == second.content_hash == content_hash(first.messages, first.tools)


def text_run(*, thought: str, answer: str = "1901") -> Trajectory:
    """A ReAct agent in plain text: observations stand in user messages."""
    body = "Ann Lee (born 1950) is an English writer and poet of note. She lives in Leeds."
    messages = [
        user("Question: In which year was the publisher of Ann Lee's first book founded?"),
        says(f"Thought 1: {thought}\nAction 1: Search[Ann Lee]"),
        user(f"Observation 1: {body}"),
        says(f"Thought 2: So the answer is {answer}.\nAction 2: Finish[{answer}]"),
    ]
    steps = (
        Step(
            idx=0,
            thought=thought,
            message_index=1,
            actions=(Action(name="Search", input="Ann Lee", observation=body, observation_index=2),),
        ),
        Step(
            idx=1,
            thought=f"So the answer is {answer}.",
            message_index=3,
            actions=(Action(name="Finish", input=answer),),
        ),
    )
    run = trajectory(messages, goal="In which year was the publisher of Ann Lee's first book founded?")
    return run.model_copy(update={"steps": steps, "final_answer": answer})


def test_text_agents_train_their_own_words_and_end_in_their_own_form() -> None:
    sample = sample_of(text_run(thought="I need to search Ann Lee and find the publisher of her first book."))
    assert [each.message.role for each in sample.messages] == ["user", "assistant", "user", "assistant"]
    assert trained(sample) == [1, 3]
    assert sample.messages[0].message.text == f"Question: {sample.goal}"
    assert sample.messages[1].message.text == "Action 1: Search[Ann Lee]"
    assert sample.messages[2].message.text.startswith("Observation 1: Ann Lee")
    final = sample.messages[3].message.text
    assert final == "Action 2: Finish[Ann Lee (born 1950) is an English writer and poet of note.]"


@pytest.mark.parametrize("label", ["success", "unknown"])
def test_only_failures_are_relabeled(label: Any) -> None:
    done = asyncio.run(relabel(bought(), Outcome(label=label), 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))
    assert (done.stage, done.reason) == ("rejected", "not_failed")


def test_what_is_not_configured_accepts_nothing() -> None:
    assert relabeled(bought(), relabeler=None).reason == "no_relabeler"
    assert relabeled(bought(), judges=[]).reason == "no_judges"
    assert relabeled(bought(), relabeler=None).analysis is not None


def test_runs_without_results_are_irrecoverable() -> None:
    done = relabeled(trajectory([user("Do it."), says("I cannot.")]))
    assert (done.stage, done.reason) == ("rejected", "irrecoverable")
    assert done.analysis is not None
    assert not done.analysis.recoverable


def test_many_errors_are_discarded_by_weight() -> None:
    run = [user("Order bolts."), *uses("get_quote", {"item": "bolt"}, "Error: no such item")]
    for n in range(6):
        run += uses("place_order", {"item": f"bolt {n}"}, "Error: refused")
    run += uses("list_suppliers", {"item": "bolt"}, {"suppliers": [{"supplier": "Acme"}]})
    errors = frozenset(index for index, m in enumerate(run) if m["role"] == "tool" and m["content"].startswith("Error"))
    done = relabeled(trajectory([*run, says("I could not.")], errors=errors, tools=TOOLS))
    assert done.reason == "severity"
    kept = relabeled(trajectory([*run, says("I could not.")], errors=errors, tools=TOOLS), policy=Policy(delta=0.0))
    assert kept.reason != "severity"


def test_signals_are_read_from_structure() -> None:
    same = uses("get_quote", {"item": "bolt"}, {"price": 3})
    run = trajectory(
        [
            user("There was an error, and I failed to order 500 bolts!"),
            *same,
            *uses("get_quote", {"item": "bolt"}, {"price": 3}),
            *uses("place_order", {"item": "bolt"}, "Error: out of stock"),
            *uses("get_quote", {"item": "nut"}, {"price": 2})[:1],
        ],
        errors=frozenset({6}),
        tools=TOOLS,
    )
    assert [signal.kind for signal in signals(view(run))] == ["repeated", "tool_error", "unanswered", "no_final_answer"]
    calm = trajectory([user("There was an error, and I failed!"), *same, says("It costs 3.")], tools=TOOLS)
    assert signals(view(calm)) == ()


def test_ids_follow_from_content() -> None:
    run = bought()
    assert relabeled(run) == relabeled(run)
    one, two = (
        relabeled(run).goals[0],
        asyncio.run(relabel(run, FAILED, 2, relabeler=TemplateRelabeler(), judges=[RulesJudge()])).goals[0],
    )
    assert one.goal_id != two.goal_id
    assert replace(Policy(), marker_key=b"") == replace(Policy(), marker_key=b"")
