from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.check import row_problems, shard_problems
from agenther_live.shards.files.parquet import from_parquet, to_parquet
from agenther_live.shards.rows.canonical import RowRefused, turns
from agenther_live.shards.rows.formats import DIALECTS, conversation_of, encode, row, trained, trains_final_answer
from tests.shards.examples import (
    PRICE,
    WEIGH,
    a_pair,
    a_step,
    call,
    failed,
    first_step,
    hindsight,
    no_final,
    one_call,
    plain,
    said,
    sample,
    system,
    tool,
    user,
)

FORMATS: tuple[ShardFormat, ...] = get_args(ShardFormat)
GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("fmt", FORMATS)
def test_rows_equal_the_golden_shard(fmt):
    """Formats are frozen: a changed byte is a new schema version. Written by `python -m tests.shards.regold`."""
    made = golden_rows(fmt)
    assert b"".join(made).decode() == (GOLDEN / f"{fmt}.jsonl").read_text(encoding="utf-8")
    assert made
    assert [row_problems(fmt, line) for line in made] == [[]] * len(made)


def golden_rows(fmt: ShardFormat) -> list[bytes]:
    lines = []
    for made in (plain(1), one_call(1), hindsight(1), no_final(1), failed(1), a_pair(1), a_step(1), first_step(1)):
        try:
            lines.append(encode(row(fmt, made)))
        except RowRefused:
            continue
    return lines


@pytest.mark.parametrize(
    ("fmt", "refused"),
    [("trl_sft", {}), ("sharegpt", {"hindsight": "masked_turn"}), ("openai_sft", {}), ("swift_sft", {})],
)
def test_what_each_dialect_refuses(fmt, refused):
    for make in (plain, one_call, hindsight, no_final):
        if make.__name__ in refused:
            with pytest.raises(RowRefused) as error:
                row(fmt, make())
            assert error.value.reason == refused[make.__name__]
        else:
            row(fmt, make())


def test_results_go_in_the_order_of_their_calls_and_keep_their_ids():
    made = [turn for turn in turns(hindsight()) if turn.role == "tool"]
    assert [(turn.call_id, turn.name, turn.text) for turn in made] == [
        ("x", "price", "timeout"),
        ("p", "price", "40"),
        ("q", "price", "30"),
    ]


def test_missing_and_repeated_ids_become_unique():
    made = turns(
        sample(
            [
                user("Weigh."),
                said("", call(None, "weigh", {}), call(None, "price", {})),
                tool(None, "1"),
                tool(None, "2", name="price"),
                said("", call("a", "weigh", {})),
                tool("a", "3"),
                said("", call("a", "weigh", {})),
                tool("a", "4"),
                said("Done."),
            ],
            tools=(WEIGH, PRICE),
        )
    )
    ids = [one.id for turn in made for one in turn.calls]
    assert len(set(ids)) == 4
    assert [turn.call_id for turn in made if turn.role == "tool"] == ids
    assert [turn.text for turn in made if turn.role == "tool"] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([user("x"), said("", call("a", "f", "{broken"))], "arguments"),
        ([user("x"), said("", call("a", "f", "[1]"))], "arguments"),
        ([user("x"), said("", call("a", "f", '{"x": NaN}'))], "arguments"),
        ([user("x"), said("", call("a", "f", '{"x": 36893488147419103232}'))], "number"),
        ([user("x"), said("", call("a", "f", '{"x": 1e999}'))], "number"),
        ([user("x"), said("", call("a", "f", {})), user("y"), said("z")], "call_id"),
        ([user("x"), tool("a", "r"), said("z")], "call_id"),
        ([user("x"), said("", call("a", "f", {})), tool("b", "r"), said("z")], "call_id"),
        ([user("x"), said("", call("a", "f", {}), call("b", "f", {})), tool("b", "r")], "call_id"),
        ([user("x"), said("  ")], "empty"),
        ([user("x"), said("y", train=False)], "mask"),
        ([user("x"), said("y", weight=0.0)], "mask"),
        ([said("y")], "user"),
        ([user("x"), said("y", weight=float("nan"))], "number"),
        ([user("x").model_copy(update={"train": True}), said("y")], "mask"),
    ],
)
def test_what_no_dialect_can_carry(messages, reason):
    with pytest.raises(RowRefused) as error:
        turns(sample(messages))
    assert error.value.reason == reason


def test_content_parts():
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}, {"type": "text", "text": "."}]
    made = sample([user("x"), said(None).model_copy(update={"message": _with_parts(parts)})])
    assert turns(made)[-1].text == "Yes."
    picture = sample([user("x"), said(None).model_copy(update={"message": _with_parts([{"type": "image_url"}])})])
    with pytest.raises(RowRefused, match="content"):
        turns(picture)


def _with_parts(parts):
    from agenther_live.trajectory import Message

    return Message(role="assistant", content=parts)


def test_old_function_calls_are_read():
    from agenther_live.labels import TrainMessage
    from agenther_live.trajectory import Message

    old = Message.model_validate(
        {"role": "assistant", "content": None, "function_call": {"name": "weigh", "arguments": '{"fruit": "fig"}'}}
    )
    result = TrainMessage(message=Message(role="function", name="weigh", content="12 g"), train=False)
    made = turns(sample([user("x"), TrainMessage(message=old, train=True), result, said("12 g.")]))
    assert made[1].calls[0].arguments == {"fruit": "fig"}
    assert made[2].call_id == made[1].calls[0].id


def test_arguments_type_and_ends_per_dialect():
    made = hindsight()
    assert isinstance(row("trl_sft", made)["messages"][4]["tool_calls"][0]["function"]["arguments"], dict)
    assert isinstance(row("axolotl_sft", made)["messages"][4]["tool_calls"][0]["function"]["arguments"], str)
    assert isinstance(row("openai_sft", made)["messages"][4]["tool_calls"][0]["function"]["arguments"], str)
    assert trained("trl_sft", row("trl_sft", made)) == [False, False, False, False, True, False, False, True]
    swift = row("swift_sft", made)["messages"]
    assert [m["role"] for m in swift][2:7] == ["tool_call", "tool_response", "tool_call", "tool_call", "tool_response"]
    assert [m["loss"] for m in swift] == [False, False, False, False, True, True, False, False, True]
    told = [fmt for fmt in FORMATS if made.kind in DIALECTS[fmt].kinds and fmt != "sharegpt"]
    assert all(trains_final_answer(fmt, row(fmt, made)) for fmt in told)
    assert not any(trains_final_answer(fmt, row(fmt, no_final())) for fmt in told if fmt != "goal_contrast")


def test_sharegpt_is_cut_behind_the_last_trained_turn():
    made = row("sharegpt", no_final())
    assert [turn["from"] for turn in made["conversations"]] == ["human", "function_call"]
    assert not trains_final_answer("sharegpt", made)


def test_sharegpt_joins_parallel_calls_and_hides_markers():
    made = row(
        "sharegpt",
        sample(
            [
                user("one"),
                user("two"),
                said(
                    "words",
                    call("a", "note", {"text": "<tool_call>x</tool_call> ◁think▷"}),
                    call("b", "note", {"text": "y"}),
                ),
                tool("b", "B"),
                tool("a", "A"),
                said("Noted."),
            ]
        ),
    )
    turn = made["conversations"][1]
    assert made["conversations"][0] == {"from": "human", "value": "one\n\ntwo"}
    assert "<" not in turn["value"]
    assert json.loads(turn["value"])[0]["arguments"]["text"] == "<tool_call>x</tool_call> ◁think▷"
    assert made["conversations"][2]["value"] == "A\n</tool_response>\n<tool_response>\nB"
    assert made["dropped_thoughts"] == 1


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([said("Hello!"), user("x"), said("y")], "alternation"),
        ([user("x"), said("y"), said("z")], "alternation"),
        ([user("x"), said("y", train=False), user("x"), said("z")], "masked_turn"),
        ([user("x"), system("mind"), said("z")], "system"),
        ([user("x"), said("", call("a", "f", {})), tool("a", "r"), user("and?"), said("z")], "alternation"),
    ],
)
def test_what_sharegpt_refuses(messages, reason):
    made = sample(messages, tools=({"name": "f"},))
    assert row("trl_sft", made)
    with pytest.raises(RowRefused) as error:
        row("sharegpt", made)
    assert error.value.reason == reason


def test_goal_contrast_has_one_response_and_two_prompts():
    made = row("goal_contrast", hindsight(3))
    assert made["prompt"][-1]["content"] == "What do a pear and a plum cost, customer 3?"
    assert made["rejected_prompt"][-1]["content"] == "Sell customer 3 a mango under 50 cents."
    assert made["prompt"][:-1] == made["rejected_prompt"][:-1]
    assert made["chosen"] == made["rejected"]
    assert len(made["train"]) == len(made["chosen"])
    for other in (plain(), hindsight(original_goal=hindsight().goal), hindsight(goal="never said")):
        with pytest.raises(RowRefused):
            row("goal_contrast", other)


def test_openai_rows_have_only_the_documented_keys():
    made = row("openai_sft", hindsight())
    assert set(made) == {"messages", "tools", "parallel_tool_calls"}
    assert made["parallel_tool_calls"] is True
    assert "content" not in made["messages"][2]
    assert {m["weight"] for m in made["messages"] if m["role"] == "assistant"} == {0, 1}
    assert set(row("openai_sft", plain())) == {"messages"}
    with pytest.raises(RowRefused, match="tools"):
        row("openai_sft", hindsight(tools=None))


def test_half_a_surrogate_pair_does_not_stop_a_shard():
    made = sample([user("x"), said("broken \ud83d end 😀")])
    line = encode(row("trl_sft", made))
    assert json.loads(line)["messages"][1]["content"] == "broken \ufffd end 😀"
    assert row_problems("trl_sft", line) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_check_sees_what_is_broken(fmt):
    """Every single damage to a good row is seen: a missing key, a wrong type, an unknown key, NaN, a torn line."""
    made = (hindsight() if fmt != "sharegpt" else one_call(), a_pair(), a_step())
    good = row(fmt, next(one for one in made if one.kind in DIALECTS[fmt].kinds))
    assert row_problems(fmt, encode(good)) == []
    for key in set(good) - DIALECTS[fmt].optional:
        assert row_problems(fmt, encode({name: value for name, value in good.items() if name != key}))
    for key in good:
        assert row_problems(fmt, encode({**good, key: None}))
    assert row_problems(fmt, encode({**good, "surprise": 1}))
    assert row_problems(fmt, encode(good).replace(b'"role"', b'"part"').replace(b'"from"', b'"von"'))
    assert row_problems(fmt, b'{"messages": NaN}')
    assert row_problems(fmt, encode(good)[:-20])
    assert row_problems(fmt, b"[]")
    assert row_problems(fmt, b"\xff")


def test_check_sees_wrong_arguments_ids_and_masks():
    good = row("trl_sft", hindsight())

    def broken(change) -> list[str]:
        made = json.loads(encode(good))
        change(made)
        return row_problems("trl_sft", encode(made))

    def call_of(made):
        return made["messages"][4]["tool_calls"][0]

    assert broken(lambda made: None) == []
    assert broken(lambda made: call_of(made)["function"].update(arguments="{}"))
    assert broken(lambda made: call_of(made).update(id="q"))
    assert broken(lambda made: made["messages"].pop(5))
    assert broken(lambda made: made["train"].__setitem__(0, True))
    assert broken(lambda made: [m.update(train=False) for m in made["messages"] if m["role"] == "assistant"])
    assert broken(lambda made: made.update(train=[False] * 8))
    assert broken(lambda made: made.update(weight=1.5))
    assert broken(lambda made: made.update(final_trained=False))
    assert broken(lambda made: made.update(schema_version=2))
    assert broken(lambda made: made.update(tools='[{"name": "bare"}]'))


def test_a_shard_as_a_whole():
    finals = [encode(row("trl_sft", plain(n))) for n in range(3)]
    others = [encode(row("trl_sft", no_final(n))) for n in range(4)]
    assert shard_problems("trl_sft", finals + others[:3]) == []
    assert "final answer" in shard_problems("trl_sft", finals + others)[0]
    assert "twice" in shard_problems("trl_sft", finals + finals[:1])[0]
    assert shard_problems("trl_sft", []) == ["a shard without rows"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text("abcdefghij_", min_size=1, max_size=8)
CALLS = st.lists(st.tuples(NAMES, st.dictionaries(st.text(max_size=8), JSON, max_size=3)), min_size=1, max_size=3)


@st.composite
def conversations(draw):
    messages = [system(draw(st.text(max_size=20)))] if draw(st.booleans()) else []
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        messages.append(user(draw(st.text(max_size=30))))
        for _ in range(draw(st.integers(0, 2))):
            calls = draw(CALLS)
            ids = [f"c{count + at}" for at in range(len(calls))]
            count += len(calls)
            made = [call(ids[at], name, arguments) for at, (name, arguments) in enumerate(calls)]
            messages.append(said(draw(st.text(max_size=10)), *made, train=draw(st.booleans())))
            messages += [tool(one, draw(st.text(max_size=20))) for one in draw(st.permutations(ids))]
        messages.append(said("A" + draw(st.text(max_size=20)), train=draw(st.booleans())))
    messages.append(user("Bye"))
    messages.append(said("Bye!"))
    return sample(messages, tools=({"name": "f"},))


@settings(max_examples=40, deadline=None)
@given(made=conversations())
def test_round_trip(made):
    """Whatever was said, called and answered comes out of each dialect again, and passes its own check."""
    wanted = turns(made)
    for fmt in FORMATS:
        if made.kind not in DIALECTS[fmt].kinds:
            continue
        try:
            line = encode(row(fmt, made))
        except RowRefused:
            if fmt in ("sharegpt", "goal_contrast", "trl_kto"):  # of two goals or askings, none is the prompt
                continue
            raise
        assert [said for said in row_problems(fmt, line) if "a secret stands in it" not in said] == []
        read = json.loads(line)
        assert _calls(fmt, read) == [[(one.name, one.arguments) for one in turn.calls] for turn in wanted if turn.calls]
        if fmt in ("trl_sft", "axolotl_sft"):
            assert from_parquet(fmt, to_parquet(fmt, [line, line])) == [line, line]
        if fmt == "trl_sft":
            assert [m["content"] for m in read["messages"]] == [turn.text for turn in wanted]
        if fmt != "sharegpt":
            assert trained(fmt, read).count(True) >= sum(turn.train for turn in wanted)


def _calls(fmt, read):
    if fmt == "sharegpt":
        values = [json.loads(t["value"]) for t in read["conversations"] if t["from"] == "function_call"]
        return [
            [(one["name"], one["arguments"]) for one in (value if isinstance(value, list) else [value])]
            for value in values
        ]
    if fmt == "swift_sft":
        groups, before = [], ""
        for message in read["messages"]:
            if message["role"] == "tool_call":
                one = json.loads(message["content"])
                groups = groups if before == "tool_call" else [*groups, []]
                groups[-1].append((one["name"], one["arguments"]))
            before = message["role"]
        return groups
    found = [[c["function"] for c in m["tool_calls"]] for m in conversation_of(fmt, read) if "tool_calls" in m]
    return [
        [(f["name"], json.loads(f["arguments"]) if isinstance(f["arguments"], str) else f["arguments"]) for f in group]
        for group in found
    ]
