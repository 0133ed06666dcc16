"""What goes into the buffer comes out as it was."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenther_live.buffer.intake import rows
from agenther_live.buffer.store import Buffer
from agenther_live.ids import uuid7
from agenther_live.trajectory import Action, Evidence, FunctionCall, Message, Step, ToolCall, Trajectory
from tests.buffer.journal_facts import at, batch, feedback, run

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def call(arguments: Any, extra: Any) -> ToolCall:
    return ToolCall(function=FunctionCall(name="f", arguments=arguments), **({"index": extra} if extra else {}))


def message(role: str, content: Any, calls: list[ToolCall], extra: Any) -> Message:
    fields: dict[str, Any] = {"role": role, "content": content}
    if calls:
        fields["tool_calls"] = calls
    if extra:
        fields["vendor"] = extra
    return Message(**fields)


CALLS = st.builds(call, TEXT | st.dictionaries(TEXT, JSON, max_size=2), JSON)
MESSAGES = st.builds(
    message,
    st.sampled_from(["user", "assistant", "tool"]),
    st.none() | TEXT | st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2),
    st.lists(CALLS, max_size=2),
    JSON,
)
TRAJECTORIES = st.builds(
    Trajectory,
    trajectory_id=st.uuids().map(str),
    goal=TEXT,
    final_answer=st.none() | TEXT,
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    nested=st.dictionaries(TEXT, st.lists(MESSAGES, max_size=2).map(tuple), max_size=1),
    tools=st.none() | st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=1).map(tuple),
    steps=st.lists(
        st.builds(Step, idx=st.integers(0, 9), thought=TEXT, actions=st.lists(st.builds(Action, name=TEXT)).map(tuple)),
        max_size=2,
    ).map(tuple),
    metadata=st.dictionaries(TEXT, JSON, max_size=2),
    tags=st.lists(TEXT, max_size=2).map(tuple),
    source=TEXT,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(items=st.lists(TRAJECTORIES, max_size=4, unique_by=lambda one: one.trajectory_id))
def test_a_trajectory_comes_out_equal_with_its_foreign_keys(buffer: Buffer, items: list[Trajectory]) -> None:
    items = [item.model_copy(update={"trajectory_id": uuid7()}) for item in items]  # examples repeat ids
    buffer.add_trajectories([(item, []) for item in items], now=at(0))
    for item in items:
        kept = buffer.trajectory(item.trajectory_id)
        assert kept == item
        assert kept is not None
        assert [m.wire() for m in kept.messages] == [m.wire() for m in item.messages]


def test_text_that_no_database_takes_is_replaced(buffer: Buffer) -> None:
    bad = "half \ud83d of a smile, a NUL \x00 and a bell \x07"
    messages = (Message(role="user", content=bad), Message.model_validate({"role": "assistant", "n": [2**70, bad]}))
    odd = Trajectory(trajectory_id="i", goal=bad, messages=messages, metadata={"k": bad})
    said = Evidence(evidence_id="e", source="person", success=False, comment=bad, at=at(0))
    buffer.add_trajectories([(odd, [said])], now=at(0))
    kept = buffer.trajectory("i")
    assert kept is not None
    assert kept.goal == bad.replace("\ud83d", "?")
    shown = kept.goal if buffer.engine_name == "duckdb" else kept.goal.replace("\x00", "\ufffd")
    assert buffer.sql("SELECT goal FROM trajectories").fetchall() == [(shown,)]
    buffer.settle(now=at(1))
    assert buffer.sql("SELECT comment FROM feedback").fetchall() == [(shown,)]
    assert len(buffer.claim(9, now=at(1))) == 1


def test_facts_with_text_that_no_database_takes_are_taken(buffer: Buffer) -> None:
    odd = batch([run("a", goal="half \ud83d", text="\ud83d", thread="t")], [feedback(thread_id="t", comment="\ud83d")])
    assert buffer.ingest(odd, now=at(1)).failed == 0
    assert buffer.sql("SELECT goal FROM trajectories").fetchall() == [("half ?",)]
    assert buffer.ingest(odd, now=at(2)).runs == 0


def test_packing() -> None:
    for data in (b"", b"x", b"abc" * 10_000):
        assert rows.unpack(rows.pack(data), len(data)) == data


def test_what_a_json_column_cannot_take_is_said_as_text() -> None:
    assert rows.json_text({"n": 2**70, "half": "a\ud800", "far": [-(2**65)]}) == (
        '{"n":"1180591620717411303424","half":"a?","far":["-36893488147419103232"]}'
    )
