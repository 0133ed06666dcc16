"""Who is worse than whom: pairs and steps of one prompt, and what is no pair."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from agenther_live.labels import Sample
from agenther_live.shards.checks.check import row_problems, shard_problems
from agenther_live.shards.rows.canonical import RowRefused, pair_turns
from agenther_live.shards.rows.formats import encode, row, trained
from agenther_live.shards.rows.pairing import contrast, failure, pair, prompt_key, step
from agenther_live.shards.rows.preference import apart
from agenther_live.trajectory import Message, Trajectory
from tests.shards.examples import (
    WEIGH,
    a_pair,
    a_step,
    call,
    failed,
    first_step,
    hindsight,
    late_failure,
    one_call,
    plain,
    said,
    sample,
    tool,
    user,
)


def test_a_pair_has_one_prompt_and_two_responses():
    made = row("trl_dpo", a_pair(3))
    assert [m["role"] for m in made["prompt"]] == ["system", "user"]
    assert (
        [m["role"] for m in made["chosen"]]
        == [m["role"] for m in made["rejected"]]
        == ["assistant", "tool"] * 1 + ["assistant"]
    )
    assert made["chosen"][-1]["content"] == "It weighs 180 g."
    assert made["rejected"][-1]["content"] == "It weighs 40 g."
    assert made["rejected_trajectory_id"] == "failed-3"
    assert json.loads(made["sources"]) == [one_call(3).sample_id, failed(3).sample_id]


@pytest.mark.parametrize("fmt", ["trl_dpo", "swift_dpo", "trl_kto"])
def test_tool_results_and_users_are_in_no_preference_mask(fmt):
    made = row(fmt, a_pair() if fmt != "trl_kto" else failed())
    if fmt == "swift_dpo":
        messages = [*made["messages"], *made["rejected_messages"]]
    else:
        messages = [*made["prompt"], *made.get("chosen", ()), *made.get("rejected", ()), *made.get("completion", ())]
    flags = trained(fmt, made)
    assert len(flags) == len(messages)
    said_by = {message["role"] for message, flag in zip(messages, flags, strict=True) if flag}
    assert said_by == ({"assistant", "tool_call"} if fmt == "swift_dpo" else {"assistant"})
    assert flags.count(True) >= 2


def test_a_step_is_one_message_on_either_side():
    late = row("trl_dpo_step", a_step())
    assert [m["role"] for m in late["prompt"]] == ["system", "user", "assistant", "tool"]
    assert not any(message.get("train") for message in late["prompt"])
    assert [made[0]["content"] for made in (late["chosen"], late["rejected"])] == [
        "It weighs 180 g.",
        "It weighs 810 g.",
    ]
    made = row("openai_dpo", first_step())
    assert set(made) == {"input", "preferred_output", "non_preferred_output"}
    assert made["input"]["parallel_tool_calls"] is False
    assert made["preferred_output"][0]["tool_calls"][0]["function"]["arguments"] == '{"fruit":"pear","grams":0}'
    assert made["non_preferred_output"] == [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "f", "type": "function", "function": {"name": "price", "arguments": '{"fruit":"pear"}'}}
            ],
        }
    ]


def test_only_equal_prompts_have_one_key():
    key = prompt_key(one_call(1))
    assert key == prompt_key(failed(1)) == prompt_key(late_failure(1))
    assert key == prompt_key(failed(1, goal="weigh PEAR 1"))  # the goal's text in the prompt is what counts
    others = [
        one_call(2),
        one_call(1, agent="other"),
        one_call(1, tools=None),
        one_call(1).model_copy(update={"messages": one_call(1).messages[1:]}),
    ]
    assert key not in {prompt_key(one) for one in others}
    assert prompt_key(sample([said("Hello.")])) == ""
    loud = [*one_call(1).messages]
    loud[1] = user("  weigh pear 1")
    assert prompt_key(one_call(1).model_copy(update={"messages": tuple(loud)})) == key


def test_what_is_no_pair_is_named():
    assert pair(one_call(1), failed(1).model_copy(update={"messages": one_call(1).messages})) == "same_response"
    mute = failed(1).model_copy(
        update={"messages": tuple(m.model_copy(update={"train": False}) for m in failed(1).messages)}
    )
    assert pair(one_call(1), mute) == "nothing_to_train"


def _like_one_call(*rest):
    return failed(0).model_copy(update={"messages": (*one_call(0).messages[:2], *rest)})


@pytest.mark.parametrize(
    ("rest", "word"),
    [
        # It did the same, and the world answered otherwise.
        ([said("On the scale with it.", call("z", "weigh", {"fruit": "pear", "grams": 0})), tool("z", "0 g"),
          said("Nothing there.")], "environment"),
        # It did the same in other words.
        ([said("Let me see.", call("z", "weigh", {"fruit": "pear", "grams": 0})), tool("z", "180 g"),
          said("Heavy.")], "same_action"),
        # It broke off: nobody said anything worse.
        ([said("On the scale with it.", call("z", "weigh", {"fruit": "pear", "grams": 0}))], "no_divergence"),
        # What it said at that point is not to be trained, not even as the worse.
        ([said("[SECRET:api_key:3f9a1c0b77de]", train=False), user("What?"), said("Sorry.")], "masked"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_named(rest, word):
    assert step(one_call(0), _like_one_call(*rest)) == word


def test_a_masked_turn_of_the_better_run_is_no_step():
    assert step(hindsight(), failed().model_copy(update={"messages": (*hindsight().messages[:2], said("No."))})) == (
        "masked"
    )


def test_prompts_that_differ_before_the_responses_are_refused():
    broken = a_pair().model_copy(update={"prompt_len": 3})
    with pytest.raises(RowRefused, match="prompt"):
        pair_turns(broken)
    with pytest.raises(RowRefused, match="kind"):
        pair_turns(one_call())
    trained_prompt = a_pair()
    messages = [m.model_copy(update={"train": m.message.role == "assistant"}) for m in a_step().messages]
    with pytest.raises(RowRefused, match="mask"):
        pair_turns(a_step().model_copy(update={"messages": tuple(messages)}))
    assert pair_turns(trained_prompt).prompt == pair_turns(a_pair()).prompt


def _run(messages, **given):
    values = {"trajectory_id": "t", "goal": "Weigh pear 1.", "messages": tuple(messages), "tools": (WEIGH,), **given}
    return Trajectory(**values)


def test_a_failure_marks_what_the_agent_said_and_nothing_else():
    messages = [each.message for each in failed(1).messages]
    made = failure(_run(messages, agent="agent"), 2)
    assert made is not None
    assert [item.train for item in made.messages] == [False, False, True, False, True]
    assert (made.kind, made.prompt_len, made.outcome_rev, made.severity) == ("failure", 2, 2, 1.0)
    assert prompt_key(made) == prompt_key(one_call(1))
    leaked = Message(role="assistant", content="It is [SECRET:api_key:3f9a1c0b77de].")
    assert failure(_run([*messages[:2], leaked]), 1) is None
    assert failure(_run(messages, flags=("truncated",)), 1) is None
    assert failure(_run(messages, goal=" "), 1) is None
    assert failure(_run(messages[2:]), 1) is None


def test_a_contrast_is_a_sample_of_its_own():
    made = contrast(hindsight(), 4)
    assert made.sample_id != hindsight().sample_id != contrast(hindsight(), 6).sample_id
    assert made.sources == (hindsight().sample_id,)
    was, now = (json.loads(encode(row("goal_contrast", one))) for one in (hindsight(), made))
    assert {key for key in was if was[key] != now[key]} == {"sample_id", "content_hash", "kind", "outcome_rev"}


def _broken(fmt, made: Sample, change) -> list[str]:
    found = json.loads(encode(row(fmt, made)))
    change(found)
    return row_problems(fmt, encode(found))


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.update(rejected=made["chosen"], rejected_train=made["chosen_train"]),
        lambda made: made["prompt"].append({"role": "assistant", "content": "Hm.", "train": False}),
        lambda made: made["rejected_train"].__setitem__(1, True),
        lambda made: made["chosen"].insert(0, made["prompt"].pop()),
        lambda made: made.update(sources="[]"),
        lambda made: made.update(rejected_trajectory_id=""),
        lambda made: made["prompt"].clear(),
    ],
)
def test_check_sees_a_broken_pair(change):
    assert _broken("trl_dpo", a_pair(), lambda made: None) == []
    assert _broken("trl_dpo", a_pair(), change)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made["input"].update(surprise=1),
        lambda made: made["input"].pop("tools"),
        lambda made: made["input"].update(parallel_tool_calls=1),
        lambda made: made["input"].update(messages=[]),
        lambda made: made["preferred_output"].append(made["preferred_output"][0]),
        lambda made: made["preferred_output"][0].update(weight=1),
        lambda made: made["preferred_output"][0].update(role="user"),
        lambda made: made["preferred_output"][0]["tool_calls"][0]["function"].update(arguments={}),
        lambda made: made.update(non_preferred_output=made["preferred_output"]),
        lambda made: made["input"]["messages"].append({"role": "assistant", "content": "x"}),
        lambda made: made["input"]["tools"][0].pop("type"),
    ],
)
def test_check_sees_every_field_of_openais_line(change):
    assert _broken("openai_dpo", first_step(), lambda made: None) == []
    assert _broken("openai_dpo", first_step(), change)


def test_check_sees_broken_labels_and_swift_pairs():
    assert _broken("trl_kto", failed(), lambda made: made.update(label=True))
    assert _broken("trl_kto", one_call(), lambda made: made.update(label=False))
    assert _broken("swift_dpo", a_pair(), lambda made: made.update(rejected_messages=made["messages"]))
    assert _broken("swift_dpo", a_pair(), lambda made: made["rejected_messages"][1].update(content="Other."))
    two = [encode(row("trl_dpo_step", a_step()))]
    assert shard_problems("trl_dpo_step", two) == []
    assert "has 3 messages" in _broken("trl_dpo_step", a_step(), lambda made: made.update(
        chosen=row("trl_dpo", a_pair())["chosen"], chosen_train=[True, False, True], chosen_weights=[1.0, 0.0, 1.0],
        prompt=row("trl_dpo", a_pair())["prompt"]))[0]  # fmt: skip


def test_both_goals_of_a_trajectory_are_no_neighbours():
    runs = [plain(n, trajectory_id=f"t{n}", kind="hindsight") for n in range(5)]
    rows = runs + [failed(n, trajectory_id=f"t{n}") for n in (0, 2, 4)]
    ordered, left = apart(rows, [one.trajectory_id for one in rows])
    assert left == []
    assert sorted(one.sample_id for one in ordered) == sorted(one.sample_id for one in rows)
    owners = [one.trajectory_id for one in ordered]
    assert all(one != other for one, other in pairwise(owners))
    assert ordered == apart(rows, [one.trajectory_id for one in rows])[0]
    assert {one.kind for one in ordered[:3]} == {"hindsight", "failure"}  # wanted and unwanted ones mix
    lines = [encode(row("trl_kto", one)) for one in (runs[0], rows[5])]
    assert any("neighbours" in problem for problem in shard_problems("trl_kto", lines))


@pytest.mark.parametrize(
    ("owners", "kept"), [("", 0), ("a", 1), ("aa", 1), ("aab", 3), ("aaab", 3), ("aabb", 4), ("aaabbc", 6)]
)
def test_what_finds_no_room_is_left(owners, kept):
    ordered, left = apart(list(enumerate(owners)), list(owners))
    assert len(ordered) == kept
    assert len(left) == len(owners) - kept
    assert all(one[1] != other[1] for one, other in pairwise(ordered))
