"""The fields of `Trajectory` and `Run` as both ways of reading put them together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from agenther_live.clock import moment

__all__ = ["MILLISECOND", "run_of", "trajectory_of"]

MILLISECOND = timedelta(milliseconds=1)
"""Unit of a fact's `d`: counted in it from where the run began, a time is had in half of what `moment` takes."""

Record = Mapping[str, Any]

_MOST_TOKENS = 2**31 - 1  # of a column


def run_of(
    start: Record, end: Record | None, *, models: Collection[str], tools_version: str | None, tokens: Sequence[int]
) -> dict[str, Any]:
    """Give a run by the fields of `Run`."""
    over = end or {}
    began, ended = start.get("at"), over.get("at")
    return {
        "root_key": str(start.get("r") or ""),
        "run_id": start.get("run_id"),
        "policy_version": start.get("policy_version"),
        "status": over.get("status", "abandoned"),
        "started_at": None if began is None else moment(began),
        "finished_at": None if ended is None else moment(ended),
        "error_type": over.get("error_type"),
        "error_message": over.get("error_message"),
        "models": tuple(models),
        "tools_version": tools_version,
        "prompt_tokens": min(tokens[0], _MOST_TOKENS),
        "completion_tokens": min(tokens[1], _MOST_TOKENS),
    }


def trajectory_of(
    starts: Sequence[Record],
    end: Record | None,
    runs: Sequence[dict[str, Any]],
    *,
    trajectory_id: str,
    revision: int,
    goal: Any,
    said_last: str | None,
    messages: Sequence[dict[str, Any]],
    context_len: int,
    nested: Mapping[str, Any],
    nested_tools: Mapping[str, Any],
    tools: Sequence[dict[str, Any]] | None,
    steps: Sequence[dict[str, Any]],
    flags: Collection[str],
    seen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give a trajectory by the fields of `Trajectory`: of the first run its head, of the last one how it ended.

    `starts` are the runs' first records, `end` the last record of the last one, `runs` are by the fields of `Run`;
    `goal` is what the user asked for last, and counts where nobody named one; `said_last` are the agent's last words,
    where they are an answer. All else is as in `Trajectory`.
    """
    last = runs[-1] if runs else None
    status = last["status"] if last else "abandoned"
    head = starts[0] if len(starts) == 1 else _head(starts)
    judged, given = head.get("evaluators"), head.get("goal")
    answer = None
    if status == "finished":
        answer = str(end["answer"]) if end is not None and end.get("answer") is not None else said_last
    fields = {
        "trajectory_id": trajectory_id,
        "agent": head.get("agent") or "agent",
        "thread_id": head.get("thread_id"),
        "goal": goal if given is None else str(given),
        "final_answer": answer,
        "status": status,
        "messages": messages,
        "context_len": context_len,
        "nested": nested,
        "nested_tools": nested_tools,
        "tools": tools,
        "steps": steps,
        "runs": tuple(runs),
        "policy_version": next((version for run in reversed(runs) if (version := run["policy_version"])), None),
        "started_at": runs[0]["started_at"] if runs else None,
        "finished_at": last["finished_at"] if last else None,
        "error_type": last["error_type"] if last else None,
        "error_message": last["error_message"] if last else None,
        "subject": head.get("subject"),
        "tenant": head.get("tenant"),
        "tags": tuple(dict.fromkeys(head.get("tags") or ())),
        "metadata": dict((head.get("metadata") or {}).items()),
        "flags": tuple(sorted(flags)),
    }
    if judged is not None:
        fields["evaluators"] = tuple(judged)
    if seen is not None:
        fields["seen"] = seen
    fields["revision"] = revision
    return fields


def _head(starts: Sequence[Record]) -> Record:
    """Put the first records of several runs together: of the first one who it was, and what any of them names."""
    head: dict[str, Any] = {**starts[0]} if starts else {}
    for key in ("goal", "thread_id", "subject", "tenant"):
        head[key] = next((given for start in starts if (given := start.get(key)) is not None), None)
    head["tags"] = [tag for start in starts for tag in start.get("tags") or ()]
    head["metadata"] = {key: value for start in starts for key, value in (start.get("metadata") or {}).items()}
    return head
