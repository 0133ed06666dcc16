"""Stage 1: what went wrong, how badly, and is the run worth a goal in hindsight (the paper's failure detector)."""

from __future__ import annotations

from collections.abc import Sequence

from agenther_live.labels import Analysis, FailureType
from agenther_live.relabel.checks.claims import gives_up
from agenther_live.relabel.checks.missed import named
from agenther_live.relabel.checks.predicates import Bound, compile_goal, holds
from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import ask
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import ChatModel, Policy
from agenther_live.relabel.reading.calls import Call, View
from agenther_live.relabel.reading.mentions import content_words
from agenther_live.relabel.reading.rows import tables
from agenther_live.relabel.severity import Level, weight
from agenther_live.relabel.signals import Signal, closes, counted, signals, useful_end
from agenther_live.trajectory import Outcome, Trajectory

__all__ = ["ModelDetector", "RulesDetector", "steps_within"]


def steps_within(view: View, end: int) -> int:
    """How many steps of the root agent stand before message `end`."""
    return sum(1 for step in view.trajectory.root_steps if step.message_index is not None and step.message_index < end)


class RulesDetector:
    """Reads structured signals only. It is modest: most failures that leave no signal are `wrong_result`."""

    name = "rules"

    async def detect(self, trajectory: Trajectory, outcome: Outcome, view: View, policy: Policy) -> Analysis:
        """Decide by the first rule that fires, from the most telling signal to the least."""
        found = signals(view)
        end = useful_end(view)
        kind, step, why, shown = _failure(view, found)
        w = weight((signal.level for signal in counted(found, end)), steps_within(view, end))
        recoverable = any(call.ok and call.kind != "unknown" for call in view.calls) or any(
            call.ok for call in view.calls
        )
        notes = [why, *(signal.detail for signal in found[:6])]
        if not recoverable:
            notes.append(_nothing(trajectory))
        return Analysis(
            trajectory_id=trajectory.trajectory_id,
            failure_type=kind,
            severity=1.0 - w,
            weight=w,
            recoverable=recoverable,
            critical_step=step,
            critical_evidence=shown,
            explanation="; ".join(dict.fromkeys(note for note in notes if note))[:2000],
            method=self.name,
        )


def _nothing(trajectory: Trajectory) -> str:
    """Why there is nothing to set a goal by."""
    nested = {step.agent_path for step in trajectory.steps if step.agent_path and step.actions}
    if nested and not any(step.actions for step in trajectory.root_steps):
        named = ", ".join(sorted(nested)[:5])
        return f"all calls are those of nested agents ({named}), and no one of them held the whole conversation"
    return "no call brought anything back, so there is nothing to set a goal by"


_Found = tuple[FailureType, int | None, str, tuple[int, ...]]


def _failure(view: View, found: Sequence[Signal]) -> _Found:
    """Type, critical step, the sentence that says why, and the messages that show it."""
    end = (view.final_index if view.final_index is not None else len(view.messages) - 1,) if view.messages else ()
    last_step = view.trajectory.root_steps[-1].idx if view.trajectory.root_steps else None
    lies = [signal for signal in found if signal.kind == "false_claim"]
    if lies:
        return "hallucination", last_step, lies[0].detail, (lies[0].message,)
    broken = _broken_limit(view)
    if broken is not None:
        return "constraint_violation", broken[0].step, broken[1], _messages(broken[0])
    answer = view.trajectory.final_answer or ""
    failed = [signal for signal in found if signal.kind in ("tool_error", "unanswered") and signal.level == "major"]
    closed = any(closes(view, call) for call in view.calls[-1:])
    ended_in_errors = bool(view.calls) and not view.calls[-1].ok and not closed
    if (not answer.strip() and not closed) or view.trajectory.status in ("error", "abandoned"):
        looping = [signal for signal in found if signal.kind == "repeated"]
        step = looping[0].step if looping else last_step
        if ended_in_errors and failed:
            return _lost_to_errors(view, "the run ended in failed calls")
        shown = tuple(sorted({signal.message for signal in looping})) or end
        return "incomplete", step, "the run ended before its task did", shown
    if ended_in_errors and (failed or view.calls[-1].transient):
        return _lost_to_errors(view, f"the last call, {view.calls[-1].name}, did not work")
    if gives_up(answer):
        return "incomplete", last_step, "the answer says that the task was not finished", end
    if _off_topic(view):
        shown = _messages(view.calls[0]) if view.calls else end
        step = view.calls[0].step if view.calls else last_step
        return "off_topic", step, "no call shares a word with the goal", shown
    unknown = [signal for signal in found if signal.kind in ("false_read", "ungrounded")]
    if unknown and any(call.ok for call in view.calls):
        return "hallucination", last_step, unknown[0].detail, (unknown[0].message,)
    return "wrong_result", last_step, "the run ended with an answer that was not what was asked", end


def _lost_to_errors(view: View, why: str) -> _Found:
    """The first of the failed calls in which a run ended: from there on nothing worked any more."""
    lost: list[Call] = []
    for call in reversed(view.calls):
        if call.ok:
            break
        lost.insert(0, call)
    return "tool_error", lost[0].step, why, tuple(index for call in lost for index in _messages(call))


def _messages(call: Call) -> tuple[int, ...]:
    return tuple(index for index in (call.at, call.observed_at) if index is not None)


def _broken_limit(view: View) -> tuple[Call, str] | None:
    """The first write whose own result breaks a limit that the goal compiles to."""
    bounds = [each for each in compile_goal(view.trajectory.goal[:4000]) if isinstance(each, Bound)]
    for call in view.calls:
        if not bounds or call.kind != "write" or not call.ok:
            continue
        for row in (row for table in tables([call]) for row in table.rows):
            for bound in bounds:
                if holds(bound, row) is False:
                    limit = view.trajectory.goal[bound.start : bound.end]
                    return call, f"{call.name} broke the limit “{limit}”"
    return None


def _off_topic(view: View) -> bool:
    goal = set(content_words(view.trajectory.goal))
    if len(goal) < 3 or not view.calls:
        return False
    did = {word for call in view.calls for word in content_words(" ".join((call.name, *map(str, call.args.values()))))}
    did |= set(content_words(view.trajectory.final_answer or ""))
    return not goal & did


class ModelDetector:
    """Asks a chat model, which gets the structured signals as evidence; the weight is still our formula."""

    def __init__(self, model: ChatModel) -> None:
        """Detect by `model`."""
        self.model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    async def detect(self, trajectory: Trajectory, outcome: Outcome, view: View, policy: Policy) -> Analysis:
        """Ask once; the reply lists errors by message and level, and w follows from those in the kept span."""
        found = signals(view)
        reply = await ask(self.model, prompts.detect_prompt(view, outcome, found, policy), policy)
        end = useful_end(view)
        said: list[Level] = [error["level"] for error in reply["errors"] if error["message"] < end]
        lies: list[Level] = [signal.level for signal in found if signal.kind == "false_claim"]
        w = weight([*said, *lies], steps_within(view, end))
        by_message = {step.message_index: step.idx for step in trajectory.root_steps}
        critical = reply["critical_message"]
        shown: tuple[int, ...] = (critical,) if isinstance(critical, int) and critical in by_message else ()
        return Analysis(
            trajectory_id=trajectory.trajectory_id,
            failure_type=reply["failure_type"],
            severity=1.0 - w,
            weight=w,
            recoverable=bool(reply["recoverable"]) and any(call.ok for call in view.calls),
            critical_step=by_message.get(critical),
            critical_evidence=shown,
            explanation=visible(reply["explanation"])[:2000],
            method=self.name,
            missed=named(reply["missed"], trajectory.goal),
            errors=tuple((each["message"], each["level"]) for each in reply["errors"] if each["whatever_the_goal"]),
        )
