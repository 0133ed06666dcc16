"""Structured signals of a run: what failed, what was repeated, what was claimed and never done.

Everything here is read from structure (error flags, missing answers, equal calls, results, the agent's own claims),
never from words of the prompt. Signals alone decide little (AUROC 0.55 on labelled runs): they are evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agenther_live.relabel.checks.claims import false_claims, false_reads
from agenther_live.relabel.reading.calls import Call, View
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.mentions import find_mentions
from agenther_live.relabel.severity import Level

__all__ = ["Signal", "closes", "counted", "signals", "useful_end"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One event: what kind, how bad, at which step and message."""

    kind: str
    level: Level
    step: int | None
    message: int
    detail: str


def signals(view: View) -> tuple[Signal, ...]:
    """All signals of a run, in order."""
    if "signals" not in view.cache:
        found = [*_call_signals(view), *_answer_signals(view)]
        view.cache["signals"] = tuple(sorted(found, key=lambda signal: signal.message))
    known: tuple[Signal, ...] = view.cache["signals"]
    return known


def _call_signals(view: View) -> Iterable[Signal]:
    seen: dict[str, Call] = {}
    for call in view.calls:
        later = [other for other in view.calls if other.number > call.number and other.name == call.name]
        recovered = any(other.ok for other in later)
        if call.failed:
            level: Level = "minor" if recovered or call.transient else "major"
            text = (call.observation or "").strip().splitlines()
            yield Signal(
                "tool_error", level, call.step, call.at, f"{call.name} failed: {text[0][:160] if text else 'no text'}"
            )
        elif call.why == "unanswered" and not closes(view, call):
            yield Signal(
                "unanswered", "minor" if recovered else "major", call.step, call.at, f"{call.name} was never answered"
            )
        earlier = seen.get(call.signature)
        if (
            earlier is not None
            and (call.kind != "read" or earlier.observation == call.observation)
            and not earlier.transient
        ):
            level = "major" if call.kind == "write" and call.ok and earlier.ok else "minor"
            yield Signal("repeated", level, call.step, call.at, f"{call.name} was called again with the same arguments")
        seen[call.signature] = call


def closes(view: View, call: Call) -> bool:
    """Whether a call was the deed that ended the task: in the last message of a finished run, without an answer."""
    last = call.kind != "read" and call.at == len(view.messages) - 1
    return last and call.why == "unanswered" and view.trajectory.status == "finished"


def _answer_signals(view: View) -> Iterable[Signal]:
    trajectory = view.trajectory
    last = len(view.messages) - 1
    answer = trajectory.final_answer
    if not (answer or "").strip():
        if any(closes(view, call) for call in view.calls[-1:]):
            return  # some agents end with a deed, and say nothing
        yield Signal("no_final_answer", "minor", None, max(last, 0), "the run ended without a final answer")
        return
    assert answer is not None
    at = view.final_index if view.final_index is not None else max(last, 0)
    for claim in false_claims(answer, view):
        yield Signal(
            "false_claim", "critical", None, at, f"the answer claims what no call did: “{claim.sentence[:160]}”"
        )
    for sentence in false_reads(answer, view):
        yield Signal(
            "false_read", "major", None, at, f"the answer tells of a look that nobody took: “{sentence[:160]}”"
        )
    if any(call.ok for call in view.calls):
        knowledge = Knowledge(view)
        unknown = [
            mention.text
            for mention in find_mentions(answer[:20_000])
            if mention.kind in ("number", "id", "email", "url") and knowledge.first(mention) is None
        ]
        if len(unknown) > 0:
            yield Signal(
                "ungrounded", "major", None, at, "the answer states what no result shows: " + ", ".join(unknown[:5])
            )


def useful_end(view: View, *, within: int | None = None) -> int:
    """The index behind the last message of the last call that worked; 0 where none did."""
    ends = [
        max(call.at, call.observed_at if call.observed_at is not None else call.at) + 1
        for call in view.calls
        if call.ok and (within is None or call.at < within)
    ]
    return max(ends, default=0)


def counted(found: Iterable[Signal], end: int) -> tuple[Signal, ...]:
    """The signals that count for a span that ends before message `end`.

    What happened behind the span is not trained, and so not counted; a lie about a write is counted wherever it stands:
    it says that the agent cannot be believed about what it did.
    """
    return tuple(signal for signal in found if signal.message < end or signal.kind == "false_claim")
