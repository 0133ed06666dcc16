"""One trajectory for a person to read: collected through the public views, and rendered with Rich."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agenther_live.errors import UsageError
from agenther_live.labels import Sample, TrainMessage
from agenther_live.render import plain

__all__ = ["Answers", "Asks", "collect", "rendered"]

SHOWN_CHARS = 600  # of one text; --json has all of it
_NEAR = 5
_COLOURS = {"success": "green", "failure": "red", "unknown": "yellow", "relabeled": "green", "rejected": "red"}


class Answers(Protocol):
    """Rows of a query."""

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows."""
        ...


class Asks(Protocol):
    """What answers SQL: the buffer."""

    def sql(self, query: str, params: Sequence[Any] | None = None) -> Answers:
        """Run one reading statement."""
        ...

    def samples_of(self, trajectory_id: str) -> Sequence[Sample]:
        """Give the samples of a trajectory as they are trained."""
        ...


_PARTS = {
    "runs": "SELECT root_key, run_id, policy_version, status, started_at, finished_at, error_type, error_message, "
    "models, prompt_tokens, completion_tokens FROM runs WHERE trajectory_id = ? ORDER BY idx",
    "steps": "SELECT idx, action_idx, agent_path, thought, action_name, action_input, observation, is_error "
    "FROM steps WHERE trajectory_id = ? ORDER BY idx, action_idx",
    "feedback": "SELECT f.source, f.key, f.success, f.score, f.value, f.comment, f.given_at, f.ambiguous "
    "FROM feedback AS f WHERE f.trajectory_id = ? ORDER BY f.given_at, f.evidence_id",
    "relabelings": "SELECT r.outcome_rev, r.attempt, r.stage, r.reason, r.detail, r.relabeled_at "
    "FROM relabelings AS r WHERE r.trajectory_id = ? ORDER BY r.outcome_rev, r.attempt",
    "goals": "SELECT goal_id, strategy, hindsight_goal, confidence, accepted, reason, method FROM goals "
    "WHERE trajectory_id = ? ORDER BY accepted DESC, goal_id",
    "verdicts": "SELECT v.goal_id, v.judge, v.is_valid, v.confidence, v.status, v.reason FROM verdicts AS v "
    "JOIN goals AS g ON g.goal_id = v.goal_id WHERE g.trajectory_id = ? ORDER BY v.goal_id, v.judge",
    "samples": "SELECT sample_id, goal_id, kind, weight, state, reason FROM samples WHERE trajectory_id = ? "
    "ORDER BY sample_id",
    "shards": "SELECT l.sample_id, l.seq, l.format, h.path, h.state, r.reason AS retracted FROM sample_shards AS l "
    "JOIN samples AS s ON s.sample_id = l.sample_id JOIN shards AS h ON h.seq = l.seq "
    "LEFT JOIN retractions AS r ON r.sample_id = l.sample_id WHERE s.trajectory_id = ? ORDER BY l.seq",
}


def collect(buffer: Asks, given: str) -> dict[str, Any]:
    """Give everything about the trajectory whose id, or thread, or the only beginning of an id, is `given`.

    Raises:
        UsageError: there is none, or several begin so.
    """
    key = _resolved(buffer, given)
    [found] = buffer.sql("SELECT * FROM trajectories WHERE trajectory_id = ?", [key]).dicts()
    reasons = buffer.sql("SELECT outcome_reason, error_type FROM failures WHERE trajectory_id = ?", [key]).dicts()
    analysed = buffer.sql(
        "SELECT failure_type, severity, weight, recoverable, critical_step, explanation, method FROM analyses "
        "WHERE trajectory_id = ?",
        [key],
    ).dicts()
    found["outcome_reason"] = reasons[0]["outcome_reason"] if reasons else None
    found["analysis"] = analysed[0] if analysed else None
    parts = {name: buffer.sql(query, [key]).dicts() for name, query in _PARTS.items()}
    said = {sample.sample_id: [_said(each) for each in sample.messages] for sample in buffer.samples_of(key)}
    for goal in parts["goals"]:
        goal["verdicts"] = [v for v in parts["verdicts"] if v["goal_id"] == goal["goal_id"]]
    for sample in parts["samples"]:
        sample["shards"] = [s for s in parts["shards"] if s["sample_id"] == sample["sample_id"]]
        sample["said"] = said.get(sample["sample_id"], [])
    return found | {name: rows for name, rows in parts.items() if name not in ("verdicts", "shards")}


def _said(each: TrainMessage) -> dict[str, Any]:
    """A message of a sample, and whether it is trained."""
    calls = [f"{call.function.name} {_as_text(call.function.arguments)}" for call in each.message.tool_calls or ()]
    return {"role": each.message.role, "text": each.message.text, "calls": calls, "train": each.train}


def _as_text(arguments: str | dict[str, Any]) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _resolved(buffer: Asks, given: str) -> str:
    near = buffer.sql(
        "SELECT trajectory_id, goal FROM trajectories WHERE starts_with(trajectory_id, ?) OR thread_id = ? "
        "ORDER BY trajectory_id <> ?, trajectory_id LIMIT ?",
        [given, given, given, _NEAR + 1],
    ).dicts()
    if not near or not given:
        raise UsageError(f"there is no trajectory {given!r}: `agenther-live sql 'from trajectories'` lists them")
    if len(near) > 1 and near[0]["trajectory_id"] != given:
        shown = ", ".join(row["trajectory_id"] for row in near[:_NEAR]) + (", …" if len(near) > _NEAR else "")
        raise UsageError(f"{given!r} is the beginning or the thread of several trajectories: {shown}")
    return str(near[0]["trajectory_id"])


# --- for people -------------------------------------------------------------------------------------------


def rendered(found: Mapping[str, Any]) -> RenderableType:
    """Give what `collect` found as Rich renderables. Foreign text can neither style the terminal nor control it."""
    parts: list[RenderableType] = [_head(found), _title("steps"), *_steps(found["steps"])]
    parts += [Text("final answer  ", style="bold") + _cut(found["final_answer"] or "none was given")]
    parts += [_title("outcome"), *_outcome(found)]
    if found["analysis"]:
        parts += [_title("what went wrong"), *_analysis(found["analysis"])]
    if found["goals"] or found["relabelings"]:
        parts += [_title("in hindsight"), *_goals(found)]
    if found["samples"]:
        parts += [_title("samples"), *_samples(found["samples"])]
    return Group(*parts)


def _head(found: Mapping[str, Any]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    grid.add_row("goal", _cut(found["goal"]))
    who = [found["agent"], found["policy_version"], found["thread_id"] and f"thread {found['thread_id']}"]
    who += [found["subject"] and f"about {found['subject']}"]
    grid.add_row("agent", Text(" · ".join(_safe(one) for one in who if one)))
    grid.add_row("id", Text(_safe(found["trajectory_id"])))
    tokens = sum(run["prompt_tokens"] + run["completion_tokens"] for run in found["runs"])
    counted = [(found["n_runs"], "run"), (found["n_steps"], "step"), (found["n_errors"], "error"), (tokens, "token")]
    size = ", ".join(f"{n:,} {word}{'s' * (n != 1)}" for n, word in counted)
    grid.add_row("run", Text(f"{found['status']} · {_span(found)} · {size}"))
    if found["flags"] not in (None, [], "[]"):
        flags = json.loads(found["flags"]) if isinstance(found["flags"], str) else found["flags"]
        grid.add_row("flags", Text(_safe(", ".join(map(str, flags)))))
    for run in found["runs"]:
        if run["error_type"]:
            grid.add_row("error", Text(f"{_safe(run['error_type'])}: ", style="red") + _cut(run["error_message"] or ""))
    return grid


def _span(found: Mapping[str, Any]) -> str:
    began, ended = found["started_at"], found["finished_at"]
    if began is None:
        return "time unknown"
    taken = f", {(ended - began).total_seconds():.1f} s" if ended else ""
    return f"{began:%Y-%m-%d %H:%M:%S} UTC{taken}"


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    last = None
    for step in steps:
        if step["idx"] != last:
            path = f"  {_safe(step['agent_path'])}" if step["agent_path"] else ""
            parts.append(Text(f"{step['idx']:>3}{path}  ", style="bold cyan") + _cut(step["thought"] or ""))
            last = step["idx"]
        if step["action_name"] is None:
            continue
        colour = "red" if step["is_error"] else "green"
        call = Text("→ ", style=colour) + Text(_safe(step["action_name"]), style="bold") + Text(" ")
        parts.append(Padding(call + _cut(step["action_input"] or ""), (0, 0, 0, 5)))
        seen = "nothing came back" if step["observation"] is None else step["observation"]
        parts.append(
            Padding(Text("← ", style=colour) + _cut(seen, style="red" if step["is_error"] else "dim"), (0, 0, 0, 5))
        )
    return parts or [Text("none", style="dim")]


def _outcome(found: Mapping[str, Any]) -> list[RenderableType]:
    label = found["outcome"]
    line = Text(label, style=f"bold {_COLOURS.get(label, 'white')}")
    line += Text(f" · said by {found['outcome_source'] or 'nobody'} · stage {found['stage']}")
    if found["reward"] is not None:
        line += Text(f" · reward {found['reward']:g}")
    parts: list[RenderableType] = [line]
    if found["outcome_reason"]:
        parts.append(_cut(found["outcome_reason"]))
    for said in found["feedback"]:
        word = {True: "success", False: "failure", None: "–"}[said["success"]]
        score = f" {said['score']:g}" if said["score"] is not None else ""
        value = f" {_safe(said['value'])}" if said["value"] else ""
        doubt = " (ambiguous: it does not decide)" if said["ambiguous"] else ""
        about = "" if said["key"] == "success" else f" {_safe(said['key'])}"
        entry = Text(f"  {said['source']}{about}: {word}{score}{value}{doubt}  ") + _cut(
            said["comment"] or "", style="dim"
        )
        parts.append(entry)
    return parts


def _analysis(analysis: Mapping[str, Any]) -> list[RenderableType]:
    line = Text(str(analysis["failure_type"]), style="bold red")
    line += Text(f" · severity {analysis['severity']:.2f}, weight {analysis['weight']:.2f}")
    line += Text(" · recoverable" if analysis["recoverable"] else " · not recoverable")
    if analysis["critical_step"] is not None:
        line += Text(f" · lost at step {analysis['critical_step']}")
    return [line + Text(f" · by {_safe(analysis['method'])}", style="dim"), _cut(analysis["explanation"])]


def _goals(found: Mapping[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for goal in found["goals"]:
        mark = Text("✓ ", style="green") if goal["accepted"] else Text("✗ ", style="red")
        parts.append(mark + _cut(goal["hindsight_goal"]))
        said = (
            f"{goal['reason']} · confidence {goal['confidence']:.2f} · {goal['strategy']} · by {_safe(goal['method'])}"
        )
        parts.append(Padding(Text(_safe(said), style="dim"), (0, 0, 0, 2)))
        for verdict in goal["verdicts"]:
            word = verdict["status"] if verdict["status"] != "ok" else "yes" if verdict["is_valid"] else "no"
            line = Text(f"{_safe(verdict['judge'])}: {word} ({verdict['confidence']:.2f})  ")
            parts.append(Padding(line + _cut(verdict["reason"] or "", style="dim"), (0, 0, 0, 2)))
    for tried in found["relabelings"]:
        if tried["stage"] == "relabeled":  # its goal stands above
            continue
        line = Text(tried["stage"], style=_COLOURS.get(tried["stage"], ""))
        parts.append(line + Text(f": {_safe(tried['reason'])}  ") + _cut(tried["detail"] or "", style="dim"))
    return parts


def _samples(samples: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for sample in samples:
        why = f": {_safe(sample['reason'])}" if sample["reason"] else ""
        told = f"{sample['kind']} {sample['sample_id']} · weight {sample['weight']:.2f} · {sample['state']}{why}"
        parts.append(Text(told))
        for shard in sample["shards"]:
            taken = f", retracted: {_safe(shard['retracted'])}" if shard["retracted"] else ""
            where = shard["path"] or f"shard {shard['seq']}"
            parts.append(Text(f"  {where} ({shard['state']}{taken})", style="dim"))
        parts += [_learned(each) for each in sample["said"] if each["role"] == "assistant"]
    return parts


def _learned(said: Mapping[str, Any]) -> RenderableType:
    """What the agent says in a sample; dim where it is masked."""
    mark, style = ("  learns  ", "") if said["train"] else ("  masked  ", "dim")
    shown = " · ".join([*([said["text"]] if said["text"].strip() else []), *(f"→ {call}" for call in said["calls"])])
    return Text(mark, style="dim" if style else "green") + _cut(shown, style=style)


def _title(text: str) -> RenderableType:
    return Padding(Rule(Text(text, style="bold"), align="left", style="dim"), (1, 0, 0, 0))


def _safe(text: object) -> str:
    """Foreign text without control characters, for `Text`, which reads no markup."""
    return plain(text).replace("\\[", "[")


def _cut(text: str, *, style: str = "") -> Text:
    """A text, cut where it is long."""
    kept = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS]
    shown = Text(_safe(kept), style=style)
    if len(text) > len(kept):
        shown += Text(f" … {len(text) - len(kept):,} characters more", style="dim italic")
    return shown
