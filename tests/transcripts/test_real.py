"""Import of 676 real trajectories of ten public sources, where the folder with them is at hand."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agenther_live.integrations.transcripts import Imported, read
from agenther_live.integrations.transcripts.adapter import FINISH, NO_CALL
from agenther_live.integrations.transcripts.choose import SOURCES, choose
from agenther_live.integrations.transcripts.signs import prints_grade
from agenther_live.trajectory import Message

FOLDER = Path(os.environ.get("AGENTHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "dev"
FILES = sorted(FOLDER.glob("*.jsonl.gz")) if FOLDER.is_dir() else []
pytestmark = pytest.mark.skipif(
    len(FILES) != 10, reason=f"the ten files of real trajectories are not in {FOLDER} (AGENTHER_TEST_DATA names them)"
)
# By source: what the importer made of a record, and what stands in the file.
Pairs = dict[str, list[tuple[Imported, dict[str, Any]]]]
# Sources without a person in the conversation: every user message after the first turn is the environment's.
ENVIRONMENT_ONLY = ("fireact-hotpotqa", "react-webshop", "reflexion-hotpotqa", "swebench-mini-swe-agent")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Every record of every source: what the importer made of it, and what stands in the file."""
    found: Pairs = {}
    for file in FILES:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            raw = [json.loads(line) for line in lines]
        items = [item for item in read(file) if isinstance(item, Imported)]
        assert len(items) == len(raw), file.name
        found[file.name.removesuffix(".jsonl.gz")] = list(zip(items, raw, strict=True))
    return found


def test_all_676_are_read_in_seconds_with_the_outcome_they_had(
    pairs: Pairs,
) -> None:
    began = time.process_time()
    again = [item for file in FILES for item in read(file)]
    assert time.process_time() - began < 20
    assert len(again) == 676
    outcomes: Counter[bool | None] = Counter()
    for item, raw in (pair for source in pairs.values() for pair in source):
        outcomes[item.evidence[0].success if item.evidence else None] += 1
        assert [(e.success, e.score) for e in item.evidence] == (
            [] if raw["outcome"]["success"] is None else [(raw["outcome"]["success"], raw["outcome"]["reward"])]
        )
    assert outcomes == {True: 251, False: 402, None: 23}
    assert len({item.trajectory.trajectory_id for source in pairs.values() for item, _ in source}) == 676


def test_messages_stay_verbatim_but_for_the_one_that_prints_the_grade(
    pairs: Pairs,
) -> None:
    for item, raw in (pair for source in pairs.values() for pair in source):
        leak = raw["meta"].get("outcome_leak_message_index")
        kept = [message for at, message in enumerate(raw["messages"]) if at != leak]
        assert [message.wire() for message in item.trajectory.messages] == kept
        assert ("grade_dropped" in item.trajectory.flags) == (leak is not None)
        assert not any(prints_grade(m.text) for m in item.trajectory.messages if m.role != "assistant")


def test_neither_labels_nor_reference_answers_are_carried_along(
    pairs: Pairs,
) -> None:
    allowed = {"task_id", "raw_id", "licence", "task_group", "format"}
    for item, _ in (pair for source in pairs.values() for pair in source):
        assert set(item.trajectory.metadata) <= allowed


def test_the_structural_rule_alone_finds_every_grade(pairs: Pairs) -> None:
    for _, raw in (pair for source in pairs.values() for pair in source):
        leak = raw["meta"].get("outcome_leak_message_index")
        shown = [at for at, m in enumerate(raw["messages"]) if m["role"] == "user" and prints_grade(m["content"] or "")]
        assert shown == ([] if leak is None else [leak])


def test_every_source_yields_steps_with_their_observations(
    pairs: Pairs,
) -> None:
    for source, records in pairs.items():
        replied = observed = calls = 0
        for item, _ in records:
            made = item.trajectory
            assert made.steps, (source, item.line)
            first = made.steps[0].message_index or 0
            replies = {i for i, m in enumerate(made.messages) if i > first and m.role in ("tool", "function")}
            if source in ENVIRONMENT_ONLY:
                replies |= {i for i, m in enumerate(made.messages) if i > first and m.role == "user"}
            if source == "tau-bench-qwen3-text":
                replies |= {i for i, m in enumerate(made.messages) if m.text.startswith("API output:")}
            marked = {a.observation_index for step in made.steps for a in step.actions}
            assert replies <= marked, (source, item.line, replies - marked)
            replied += bool(replies)
            observed += bool(replies and any(a.observation for step in made.steps for a in step.actions))
            calls += sum(len(step.actions) for step in made.steps)
        assert calls, source
        assert observed >= 0.95 * replied, source


def test_observations_are_what_the_messages_say_and_thoughts_too(
    pairs: Pairs,
) -> None:
    for source, records in pairs.items():
        for item, _ in records:
            made = item.trajectory
            for step in made.steps:
                assert step.message_index is not None
                text = made.messages[step.message_index].text
                if source not in ("tau-bench-qwen3-text", "bioagent-errors"):  # there a thought is put together
                    assert step.thought in text
                for action in step.actions:
                    if action.observation_index is None:
                        continue
                    answer = made.messages[action.observation_index]
                    assert action.observation is not None
                    assert action.observation in answer.text
                    if answer.role == "tool" and answer.name and source in ("tau-bench-airline", "agentrx-tau-retail"):
                        assert answer.name == action.name


def test_only_closing_calls_are_left_without_an_answer(pairs: Pairs) -> None:
    for source, records in pairs.items():
        for item, _ in records:
            steps = item.trajectory.steps
            for step in steps:
                for action in step.actions:
                    if action.observation is None and action.name.lower() not in FINISH:
                        assert step is steps[-1], (source, item.line, step.idx, action.name)
                    if action.name == NO_CALL:
                        assert source == "swebench-mini-swe-agent"
                        assert action.is_error


def test_people_who_speak_are_not_taken_for_an_environment(
    pairs: Pairs,
) -> None:
    for source in ("tau-bench-airline", "agentrx-tau-retail", "toolbench-examples"):
        for item, _ in pairs[source]:
            marked = {a.observation_index for step in item.trajectory.steps for a in step.actions}
            assert not any(m.role == "user" and i in marked for i, m in enumerate(item.trajectory.messages))
    for item, _ in pairs["tau-bench-qwen3-text"]:
        marked = {a.observation_index for step in item.trajectory.steps for a in step.actions}
        for index, message in enumerate(item.trajectory.messages):
            if message.role == "user":
                assert (index in marked) == message.text.startswith("API output:")


def test_the_structure_alone_leads_to_the_same_adapter(
    pairs: Pairs,
) -> None:
    for source, records in pairs.items():
        for item, raw in records:
            found = choose(None, [Message.model_validate(message) for message in raw["messages"]])
            native = any(message.tool_calls for message in item.trajectory.messages)
            assert found is SOURCES[source] or (source == "sweagent-traj" and native), (source, item.line, found.name)


def test_errors_are_found_where_the_sources_have_them(
    pairs: Pairs,
) -> None:
    errors = {
        source: sum(a.is_error for item, _ in records for step in item.trajectory.steps for a in step.actions)
        for source, records in pairs.items()
    }
    invalid = sum(
        message["content"] == "Observation: Invalid action!"
        for _, raw in pairs["react-webshop"]
        for message in raw["messages"]
    )
    assert errors["react-webshop"] == invalid > 0
    for source in ("tau-bench-airline", "agentrx-tau-retail"):
        said = sum(
            m["role"] == "tool" and m["content"].startswith("Error") for _, r in pairs[source] for m in r["messages"]
        )
        assert errors[source] == said > 0
    assert errors["fireact-hotpotqa"] == 0
    assert all(
        errors[s] > 0 for s in ("bioagent-errors", "swebench-mini-swe-agent", "sweagent-traj", "toolbench-examples")
    )


def test_importing_again_gives_the_same_ids_and_steps(
    pairs: Pairs,
) -> None:
    again = [item for item in read(FOLDER / "toolbench-examples.jsonl.gz") if isinstance(item, Imported)]
    assert [item.trajectory for item in again] == [item.trajectory for item, _ in pairs["toolbench-examples"]]
