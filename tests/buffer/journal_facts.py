"""Facts as capture writes them, for tests of the buffer: runs of a small tool agent, built by hand."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agenther_live.ids import uuid7
from agenther_live.journal import Batch, Cursor, RunFacts

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC).replace(tzinfo=None)
_ids = itertools.count()


def at(seconds: float) -> datetime:
    """A naive UTC time, `seconds` after the tests' beginning."""
    return T0 + timedelta(seconds=seconds)


def run(
    root_key: str | None = None,
    *,
    start: float = 0.0,
    seconds: float = 1.0,
    status: str | None = "finished",
    agent: str = "buyer",
    thread: str | None = None,
    goal: str = "Buy 10 bolts",
    answer: str = "Done.",
    steps: int = 1,
    resumes: str | None = None,
    resume: bool | None = None,
    waits_at: str | None = None,
    trajectory: str | None = None,
    error: str | None = None,
    conversational: bool | None = None,
    text: str = "OK",
    **more: Any,
) -> RunFacts:
    """One run: a user's goal (or a resume), `steps` tool calls, an answer where it finished. Status None: no end."""
    key = root_key or uuid7()
    resuming = bool(resumes) if resume is None else resume
    began = EPOCH + start
    items: list[dict[str, Any]] = []
    number = 0

    def say(message: dict[str, Any]) -> int:
        nonlocal number
        number += 1
        items.append({"t": "msg", "d": 0, "m": number, "id": f"{key}-{number}", "msg": message})
        return number

    def ask(call: int) -> None:  # the input of a call is what was added to the input of the one before
        add, seen = known[seen_by_model[0] :], seen_by_model[0]
        place = {"d": call, "c": call, "s": 0, "p": 0, "n": 0}
        items.append({"t": "call", **place, "base": call - 1, "keep": seen, "add": add})
        seen_by_model[0] = len(known)

    sent = [] if resuming else [say({"role": "user", "content": goal})]
    known, seen_by_model = list(sent), [0]
    for call in range(1, steps + 1):
        ask(call)
        wanted = {
            "id": f"call-{key}-{call}",
            "type": "function",
            "function": {"name": "search", "arguments": '{"q": 1}'},
        }
        asked = say({"role": "assistant", "content": f"step {call}", "tool_calls": [wanted]})
        items.append({"t": "reply", "d": call, "c": call, "m": asked, "model": "scripted", "usage": [10, 5]})
        items.append({"t": "tool", "d": call, "n": call, "s": 0, "p": 0, "up": 0, "name": "search", "id": wanted["id"]})
        seen = say({"role": "tool", "content": f"{text} {call}", "tool_call_id": wanted["id"], "name": "search"})
        items.append({"t": "tool_end", "d": call, "n": call, "m": seen})
        known += [asked, seen]
    if status == "finished":
        ask(steps + 1)
        last = say({"role": "assistant", "content": answer})
        items.append({"t": "reply", "d": 9, "c": steps + 1, "m": last, "model": "scripted", "usage": [20, 6]})
    records: list[dict[str, Any]] = [
        {
            "k": "start",
            "r": key,
            "at": began,
            "run_id": f"run-{key}",
            "agent": agent,
            "thread_id": thread,
            "policy_version": "p1",
            "tags": [],
            "metadata": {},
            "input": sent,
            "input_text": None,
            "resume": resuming,
            "checkpoint_id": resumes,
            "trajectory_id": trajectory,
            "goal": None,
            "subject": None,
            "tenant": None,
            "new_input": not resuming,
            "conversational": conversational,
            **more,
        },
        {"k": "f", "r": key, "at": began, "f": items},
    ]
    if waits_at is not None:
        records.append({"k": "interrupt", "r": key, "at": began + seconds, "checkpoint_id": waits_at, "values": []})
    if status is not None:
        end: dict[str, Any] = {"k": "end", "r": key, "at": began + seconds, "status": status, "out": []}
        if error is not None:
            end |= {"error_type": error, "error_message": f"{error} happened"}
        records.append(end)
    return RunFacts.of(key, "w", records, orphaned=status is None)


def feedback(*, seconds: float | None = 100.0, source: str = "person", **fields: Any) -> dict[str, Any]:
    """A `feedback` record of the journal."""
    record = {"k": "feedback", "feedback_id": f"fb-{next(_ids)}", "source": source, "key": "success", **fields}
    if seconds is not None:
        record["at"] = EPOCH + seconds
    return record


def batch(
    runs: Iterable[RunFacts] = (),
    loose: Sequence[dict[str, Any]] = (),
    *,
    offset: int = 1,
    damage: Counter[str] | None = None,
) -> Batch:
    """A batch as the journal's reader gives it, with one writer's cursor at `offset`."""
    marked = [{"_id": f"w:0:{offset}:{index}", **record} for index, record in enumerate(loose)]
    return Batch(runs=list(runs), loose=marked, cursors={"w": Cursor(0, offset, 0, offset)}, damage=damage or Counter())
