"""Files, bad input, and whatever may stand in one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenther_live.integrations.transcripts import Imported, Refused, read
from agenther_live.integrations.transcripts.adapter import MAX_DEPTH
from agenther_live.integrations.transcripts.choose import ADAPTERS
from agenther_live.integrations.transcripts.steps import derive
from agenther_live.trajectory import Message
from tests.transcripts.given import one, talk, write


def test_gzip_byte_order_mark_blank_lines_and_crlf(tmp_path: Path) -> None:
    line = json.dumps(talk(("user", "u\u2028u"), ("assistant", "a")), ensure_ascii=False).encode()
    data = (
        b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line.replace(b'"a"', b'"b"') + b"\n\n" + line.replace(b'"a"', b'"c"')
    )
    plain, packed, members = tmp_path / "a.jsonl", tmp_path / "a.json.gz", tmp_path / "named-wrongly.jsonl"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    members.write_bytes(gzip.compress(data[:40]) + gzip.compress(data[40:]) + b"\0" * 512)
    for path in (plain, packed, members):
        items = list(read(path))
        assert [type(item) for item in items] == [Imported] * 3
        assert [item.line for item in items] == [1, 4, 6]


def test_a_torn_gzip_file_keeps_what_came_before(tmp_path: Path) -> None:
    lines = [json.dumps(talk(("user", f"question {n} {n * 7919}"), ("assistant", f"answer {n}"))) for n in range(400)]
    whole = gzip.compress("\n".join(lines).encode())
    path = tmp_path / "torn.jsonl.gz"
    for cut in (len(whole) // 2, len(whole) - 4, 12, 3):
        path.write_bytes(whole[:cut])
        items = list(read(path))
        kept = [item for item in items if isinstance(item, Imported)]
        assert [item.line for item in kept] == list(range(1, len(kept) + 1))
        assert len(items) == len(kept) + 1
        assert isinstance(items[-1], Refused)
        assert "gzip" in items[-1].reason
        assert len(kept) in (items[-1].line, items[-1].line - 1)
    assert len(kept) == 0
    path.write_bytes(whole[: len(whole) // 2] + b"garbage" + whole[len(whole) // 2 :])
    assert any(isinstance(item, Refused) for item in read(path))


def test_a_line_over_the_bound_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = talk(("user", "u"), ("assistant", "a"))
    path = write(tmp_path / "in.jsonl", good, talk(("user", "x" * 5000), ("assistant", "a")), {**good, "goal": "g"})
    first, second, third = read(path, max_line_bytes=2000)
    assert isinstance(first, Imported)
    assert second == Refused(str(path), 2, "the line is longer than 2000 bytes")
    assert isinstance(third, Imported)
    assert third.line == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not JSON"),
        ("12", "a JSON object is needed, this is a number"),
        ("{}", "'messages' must be a list"),
        ('{"messages": []}', "'messages' is empty"),
        ('{"messages": [1]}', "message 0 is a number"),
        ('{"messages": [{"role": "robot", "content": ""}]}', "message 0, role"),
        ('{"messages": [{"role": "user", "content": 5}]}', "message 0, content"),
        ('{"messages": [{"role": "user", "content": "u"}], "tools": {}}', "'tools'"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": "meh"}', "'outcome'"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": {"success": 1}}', "'outcome'"),
        ('{"messages": [{"role": "user", "content": "u"}], "goal": 5}', "'goal' must be text"),
        ('{"messages": [{"role": "user", "content": "u"}], "metadata": []}', "'metadata'"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": NaN}', "NaN"),
        ('{"messages": [{"role": "user", "content": "u"}], "raw_id": 18446744073709551616}', "out of range"),
        ('{"messages": [{"role": "user", "content": "u"}], "metadata": {"x": [-1e999]}}', "out of range"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": ' + "[" * 200 + "]" * 200 + "}", "nested"),
        ("[" * 100_000, "nested"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": ' + "9" * 5000 + "}", "not JSON"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": 1' + "0" * 400 + "}", "out of range"),
    ],
)
def test_an_unreadable_record_is_refused_with_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    good = json.dumps(talk(("user", "u"), ("assistant", "a")))
    path.write_text(f"{good}\n{line}\n{good}\n", "utf-8")
    first, refused, last = read(path)
    assert isinstance(first, Imported)
    assert isinstance(last, Imported)
    assert isinstance(refused, Refused)
    assert (refused.file, refused.line) == (str(path), 2)
    assert reason in refused.reason


def test_a_refusal_never_quotes_the_record(tmp_path: Path) -> None:
    bad = [{"role": "user", "content": "hunter2"}, {"role": "hunter2", "content": "hunter2"}]
    (refused,) = read(write(tmp_path / "in.jsonl", {"messages": bad}))
    assert isinstance(refused, Refused)
    assert "hunter2" not in refused.reason


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"messages": "\xff"}\n')
    (refused,) = read(path)
    assert isinstance(refused, Refused)
    assert "UTF-8" in refused.reason


@pytest.mark.parametrize("text", ['[{"messages": []},\n{"messages": []}]', '{\n  "messages": []\n}'])
def test_one_json_document_over_many_lines_is_said_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(text, "utf-8")
    (refused,) = read(path)
    assert isinstance(refused, Refused)
    assert "jq -c" in refused.reason


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "nul\0.jsonl"])
def test_a_file_that_cannot_be_opened_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    (refused,) = read(tmp_path / name)
    assert isinstance(refused, Refused)
    assert refused.line == 0
    assert "cannot be read" in refused.reason


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    for data in (b"", b"\n\n", gzip.compress(b"")):
        (tmp_path / "in.jsonl").write_bytes(data)
        assert list(read(tmp_path / "in.jsonl")) == []


TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "Thought: a\nAction: b[c",
            "Action:",
            "Action: {",
            'Action:\n{"name": "respond", "arguments": 5}',
            'Action: {"name": "f", "arguments": "\\ud800"}',
            "Observation:",
            "API output: Error: x",
            "<think>",
            "```bash\nls\n```",
            "```\nsubmit\n```",
            "```bash\n",
            "<returncode>99999999999999999999</returncode>",
            "exitcode: 1 (execution failed)",
            '{"agent": {"messages": [{"type": "ai", "content": [1, {}], "tool_calls": [1, {"name": "f"}]}]}}',
            '{"tools": {"messages": [{"type": "tool", "content": null, "tool_call_id": 1}]}}',
            '{"agent": {"messages": 5}}',
            "(Open file: x)\n(Current directory: y)\nbash-$",
            "Answer is CORRECT",
            "Traceback (most recent call last):\n",
        ]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function"])
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "function": st.fixed_dictionaries(
                {"name": TEXTS, "arguments": TEXTS | st.dictionaries(TEXTS, JSON, max_size=2)}
            )
        },
        optional={"id": st.none() | st.sampled_from(["1", "2"]), "index": JSON},
    ),
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": st.none() | TEXTS},
    optional={
        "tool_calls": st.none() | CALLS,
        "tool_call_id": st.none() | st.sampled_from(["1", "2"]),
        "name": st.none() | st.sampled_from(["executor", "code_generate", "f"]),
        "function_call": JSON,
        "extra": JSON,
    },
)
KEYS = ["source", "goal", "messages", "tools", "functions", "final_answer", "outcome", "meta", "metadata", "agent", "x"]


def hostile(value: Any) -> bytes:
    return json.dumps(value).encode()


LINES = st.one_of(
    st.binary(max_size=60),
    JSON.map(hostile),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6).map(hostile),
    st.fixed_dictionaries(
        {"messages": st.lists(MESSAGES | JSON, max_size=6)},
        optional={key: JSON for key in KEYS if key != "messages"},
    ).map(hostile),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(LINES, max_size=5), packed=st.booleans(), cut=st.none() | st.integers(0, 200))
def test_whatever_stands_in_the_file_reading_never_raises(
    tmp_path: Path, lines: list[bytes], packed: bool, cut: int | None
) -> None:
    data = b"\n".join(lines)
    path = tmp_path / "hostile.jsonl"
    path.write_bytes((gzip.compress(data) if packed else data)[:cut])
    for item in read(path, max_line_bytes=4000):
        assert isinstance(item, Imported | Refused)
        if isinstance(item, Imported):
            item.trajectory.model_dump_json().encode()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=st.lists(MESSAGES, min_size=1, max_size=8), name=st.sampled_from(sorted(ADAPTERS)))
def test_every_adapter_pairs_soundly_on_any_messages(raw: list[dict[str, Any]], name: str) -> None:
    messages = [Message.model_validate(item) for item in raw]
    derived = derive(messages, ADAPTERS[name])
    assert [step.idx for step in derived.steps] == list(range(len(derived.steps)))
    positions = [step.message_index for step in derived.steps]
    assert positions == sorted({position for position in positions if position is not None})
    assert all(position is not None and messages[position].role == "assistant" for position in positions)
    answers = [a.observation_index for step in derived.steps for a in step.actions if a.observation_index is not None]
    assert len(answers) == len(set(answers))
    for step in derived.steps:
        for action in step.actions:
            assert (action.observation is None) == (action.observation_index is None)
            if action.observation_index is not None and step.message_index is not None:
                assert step.message_index < action.observation_index < len(messages)
    native = sum(len(message.tool_calls or ()) for message in messages if message.role == "assistant")
    assert sum(len(step.actions) for step in derived.steps) >= native


def test_deep_nesting_up_to_the_bound_is_taken(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 3):
        deep = [deep]
    assert one(tmp_path, talk(("user", "u"), ("assistant", "a"), x=deep)).trajectory.messages
