"""From a run and a goal to the sample as it will be trained: what stands in the prompt, what is cut, what is masked.

Judges see exactly this. Tool results, users and the system prompt are never trained; of the assistant's messages those
are masked that failed, lied, held placeholders or served nothing; thoughts that argue for the old goal are taken out,
because a mask still conditions on them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from agenther_live.labels import Sample, TrainMessage
from agenther_live.redact import PLACEHOLDER
from agenther_live.relabel.checks.claims import claims, false_claims, waiting_claims
from agenther_live.relabel.checks.turns import first_contradiction
from agenther_live.relabel.conducted import spoken
from agenther_live.relabel.lanes import concluding
from agenther_live.relabel.mended import mended
from agenther_live.relabel.models import Candidate, Case, Proposal, Refused
from agenther_live.relabel.reading.calls import Call, ToolKind, View, name_words, scalars, view
from agenther_live.relabel.reading.lexicon import FINISHING, OPENERS, STOPWORDS
from agenther_live.relabel.reading.mentions import content_words, find_mentions, fold, stem, words
from agenther_live.relabel.severity import Level, weight
from agenther_live.relabel.signals import counted, signals
from agenther_live.trajectory import NOT_AS_SEEN, Message, Outcome, Trajectory

__all__ = ["argued", "cites", "content_hash", "demonstrate", "hindsight_sample", "success_sample", "with_goal"]

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
# "It is not quite what was asked, but …": in the new goal's sample it is.
_FALLS_SHORT = re.compile(
    r"(?:\bnot|n['’]t)\s+(?:quite\s+|exactly\s+|really\s+)?(?:what|all that)"
    r"\s+(?:was|is|you|they|he|she|the\s+\w+)\s+(?:have\s+|has\s+|had\s+)?(?:ask|want|request|need)(?:ed|s)?\b",
    re.IGNORECASE,
)
# Words of requests that say nothing about which goal is meant.
_COMMON = frozenset(stem(word) for word in OPENERS)
# What no system prompt names that was not written for one user's goal.
_THINGS = frozenset(("id", "email", "url", "quoted"))


def demonstrate(case: Case, proposal: Proposal) -> Candidate:
    """Build the sample as trained for a proposed goal.

    Raises:
        Refused: where no honest demonstration of it can be built.
    """
    seen, trajectory = case.view, case.trajectory
    if seen.goal_index is None:
        raise Refused("no_prompt", "the trajectory has no user message in which a goal could stand")
    end = _whole_turn(seen, proposal.end)
    if (turn := first_contradiction(seen, proposal.hindsight_goal, end)) is not None:
        end = _whole_turn(seen, max(proposal.evidence, default=-1) + 1)
        if end > turn:
            raise Refused("check:turns", f"message {turn} of the user contradicts the goal before it is reached")
        proposal = replace(proposal, end=end)
    if end <= seen.goal_index:
        raise Refused("no_prompt", "the span ends before the message in which the goal stands")
    kept = [call for call in seen.calls if call.at < end]
    served = set(proposal.evidence)
    useful = {call.number for call in kept if call.ok and (call.at in served or call.observed_at in served)}
    if not useful:
        raise Refused("check:evidence", "no call of the span proves anything the goal asks for")
    useful |= _feeding(kept, useful)
    if case.lane and (index := _told_by_others(case, proposal, end)) is not None:
        raise Refused("check:old_goal", f"message {index}, which this model did not write, is about the failed goal")
    own = {step.message_index for step in trajectory.root_steps}
    argued = _argues(seen, kept, end, proposal)
    messages: list[TrainMessage] = []
    for index, message in enumerate(seen.messages[:end]):
        if index == seen.goal_index:
            messages.append(
                TrainMessage(message=with_goal(message, trajectory.goal, proposal.hindsight_goal), train=False)
            )
        elif index < trajectory.context_len or message.role != "assistant" or (case.lane and index not in own):
            messages.append(TrainMessage(message=message, train=False))
        else:
            messages.append(_assistant(seen, index, kept, useful, proposal, argued=argued))
    if proposal.final_answer is not None:
        final = _final_message(seen, proposal.final_answer, end)
        if final is not None:
            messages.append(TrainMessage(message=final, train=True, rewritten=True))
    if not any(each.train for each in messages):
        raise Refused("nothing_to_train", "every message of the span would be masked")
    kept_steps = sum(1 for step in trajectory.root_steps if step.message_index is not None and step.message_index < end)
    w = weight(_errors(case, end), kept_steps)
    return Candidate(proposal, tuple(messages), end=end, weight=w, severity=1.0 - w)


def _errors(case: Case, end: int) -> list[Level]:
    """How bad each error of the kept span is, whatever the goal: by a model that looked, else by the signals."""
    found, told = counted(signals(case.view), end), case.analysis.errors
    if told is None:
        return [signal.level for signal in found]
    lies: list[Level] = [signal.level for signal in found if signal.kind == "false_claim"]
    seen: list[Level] = [level for message, level in told if message < end]
    return seen + lies


def with_goal(message: Message, old: str, new: str) -> Message:
    """The user's message with the goal replaced: in place where the old goal stands in it, as a whole where not."""
    if isinstance(message.content, list):
        texts = [part for part in message.content if part.get("type") == "text"]
        parts = [part for part in message.content if part.get("type") != "text"]
        inner = with_goal(
            Message(role="user", content="\n".join(str(part.get("text", "")) for part in texts)), old, new
        )
        return _changed(message, content=[*parts, {"type": "text", "text": inner.text}])
    text = message.text
    place = text.find(old.strip()) if old.strip() else -1
    if place >= 0:
        return _changed(message, content=text[:place] + new + text[place + len(old.strip()) :])
    return _changed(message, content=new)


def _changed(message: Message, **changes: Any) -> Message:
    """A message with some keys changed; a key set to None by `drop` is kept out of the wire form."""
    return Message.model_validate({**message.wire(), **changes})


def _whole_turn(seen: View, end: int) -> int:
    """Move the end behind all answers to the last kept turn: a turn is kept with all its parallel results."""
    end = min(max(end, 0), len(seen.messages))
    last_turn = max((call.at for call in seen.calls if call.at < end), default=-1)
    answered = [call.observed_at + 1 for call in seen.calls if call.at == last_turn and call.observed_at is not None]
    return max([end, *answered])


def _feeding(kept: Sequence[Call], useful: set[int]) -> set[int]:
    """Calls whose results hold a value that a useful call was then given: they led there."""
    feeding: set[int] = set()
    for call in reversed(kept):
        if call.number in useful | feeding or not call.ok or call.kind == "write":
            continue
        seen = call.folded
        later = [other for other in kept if other.at > call.at and other.number in useful | feeding]
        values = {f" {fold(str(value))} " for other in later for _, value in other.given if len(str(value)) > 1}
        if any(value in seen for value in values if value.strip()):
            feeding.add(call.number)
    return feeding


def _argues(seen: View, kept: Sequence[Call], end: int, proposal: Proposal) -> bool:
    """Whether a thought of the span cites the old goal, or says that it falls short of what was asked.

    Then those beside it serve that goal too, if less loudly.
    """
    goal, new = seen.trajectory.goal, proposal.hindsight_goal
    for step in seen.trajectory.root_steps:
        index = step.message_index
        if index is None or not seen.trajectory.context_len <= index < end or seen.messages[index].role != "assistant":
            continue
        message = seen.messages[index]
        shown = shown_words([call for call in kept if call.ok and call.at < index])
        wire = message.wire()
        hidden = " ".join(orjson.dumps(value).decode() for key in _THOUGHT_KEYS if (value := wire.get(key)))
        told = _all_text(message) if message.tool_calls else step.thought
        thought = f"{told} {hidden}".strip()
        if cites(thought, goal, new, shown) or _FALLS_SHORT.search(thought):
            return True
    return False


def _told_by_others(case: Case, proposal: Proposal, end: int) -> int | None:
    """The first message of a lane's span that goes on about the old goal in words of others, which stay as they are.

    That is the system prompt, which a graph may have written for this goal (it names a thing that the goal names), what
    other agents and their tools said in this turn, and the run's own goal in another message than that in which the
    lane's stands.
    """
    seen, new = case.view, proposal.hindsight_goal
    olds = tuple(dict.fromkeys((seen.trajectory.goal, case.asked)))
    things = {mention.norm for old in olds for mention in find_mentions(old) if mention.kind in _THINGS}
    kept = [call for call in seen.calls if call.ok and call.at < end]
    own = {step.message_index for step in seen.trajectory.root_steps}
    mine = {action.observation_index for step in seen.trajectory.root_steps for action in step.actions}
    for index, message in enumerate(seen.messages[:end]):
        if index in own or index == seen.goal_index:
            continue
        if message.role in ("system", "developer"):
            if things & {mention.norm for mention in find_mentions(message.text)}:
                return index
            shown = frozenset(content_words(message.text))  # what an agent is for is no goal
        elif message.role in ("user", "tool") and f" {fold(case.asked)} " in f" {fold(message.text)} ":
            return index
        elif index > seen.trajectory.context_len and message.role == "assistant":
            shown = shown_words(call for call in kept if call.at < index)
        elif index > seen.trajectory.context_len and message.role == "tool" and index not in mine:
            shown = frozenset(content_words(message.text))  # single words of a result are no goal either
        else:
            continue
        text = " ".join((_all_text(message), *(str(call.function.arguments) for call in message.tool_calls or ())))
        if any(cites(text, old, new, shown) for old in olds):
            return index
    return None


def _assistant(
    seen: View, index: int, kept: Sequence[Call], useful: set[int], proposal: Proposal, *, argued: bool
) -> TrainMessage:
    """One assistant message of the span: without the old goal's thoughts, and trained only where it is worth it."""
    message = seen.messages[index]
    calls = [call for call in kept if call.at == index]
    goal, new = seen.trajectory.goal, proposal.hindsight_goal
    shown = shown_words([call for call in kept if call.ok and call.at < index])
    if message.tool_calls:
        if argued:
            message = _without_thoughts(_changed(message, content=""))
        train = bool(calls) and all(_worth(call, kept, useful) for call in calls)
    elif calls:  # a text agent: thought and action are one text
        thought = next((step.thought for step in seen.trajectory.root_steps if step.message_index == index), "")
        if argued and thought and thought in message.text:
            message = _changed(message, content=_without_thought(message.text, thought))
        train = all(_worth(call, kept, useful) for call in calls) and not cites(message.text, goal, new, shown)
    else:
        # Words between the calls, or to the user: kept as context, never a model to follow for another goal.
        train = False
        if cites(message.text, goal, new, shown) or false_claims(message.text, seen, before=index):
            message = _changed(message, content="…")
    if train and (claims(message.text, seen) and false_claims(message.text, seen, before=index)):
        train = False
    return TrainMessage(message=message, train=train and not holds_placeholder(message))


def _all_text(message: Message) -> str:
    """The text of a message, and of parts that are no text to a user (thinking, reasoning)."""
    if not isinstance(message.content, list):
        return message.text
    return " ".join(str(value) for _, value in scalars(message.content) if isinstance(value, str))


def _worth(call: Call, kept: Sequence[Call], useful: set[int]) -> bool:
    """Whether a call is worth imitating: it worked and led somewhere, or was right and the environment failed, once."""
    if call.ok:
        return call.number in useful
    if not call.transient:
        return False
    again = [other for other in kept if other.signature == call.signature]
    return again[-1].ok and again[-1].number in useful and again.index(call) == len(again) - 2


def _without_thought(text: str, thought: str) -> str:
    """A text agent's message without its thought, and without the label that introduced it."""
    before, _, after = text.partition(thought)
    lines = before.rstrip().splitlines()
    if lines and lines[-1].strip().rstrip(":").casefold().startswith("thought"):
        lines.pop()
    return "\n".join([*lines, after.lstrip()]).strip()


def _without_thoughts(message: Message) -> Message:
    wire = message.wire()
    found = [key for key in _THOUGHT_KEYS if key in wire]
    for key in found:
        del wire[key]
    return Message.model_validate(wire) if found else message


def shown_words(calls: Iterable[Call]) -> frozenset[str]:
    """The words that these calls and their results know."""
    return frozenset().union(*(call.words for call in calls))


def cites(text: str, goal: str, new: str, shown: frozenset[str] | None = None) -> bool:
    """Whether a text argues for the old goal.

    By a 4-gram of it that the new goal lacks, by a number or name of its own, or by words that neither the new goal nor
    anything `shown` explains.
    """
    if not text or not goal:
        return False
    old_words, new_text, folded = words(goal), f" {fold(new)} ", f" {fold(text)} "
    for start in range(len(old_words) - 3):
        gram = old_words[start : start + 4]
        if sum(word not in STOPWORDS for word in gram) < 2:
            continue
        needle = f" {' '.join(gram)} "
        if needle in folded and needle not in new_text:
            return True
    gone = set(content_words(goal)) - set(content_words(new)) - _COMMON
    lingering = gone & set(content_words(text))
    if len(lingering) >= (2 if shown is None else 3) or (shown is not None and lingering - shown):
        return True
    known = {mention.norm for mention in find_mentions(new)}
    lost = {mention.norm for mention in find_mentions(goal) if mention.kind != "name"} - known
    if lost & {mention.norm for mention in find_mentions(text[:20_000])}:
        return True
    if len(old_words) < 8:
        plain = f" {' '.join(old_words)} "
        return plain in folded and plain not in new_text
    return False


_ARGUED = 6  # words in a row that an argument has of the old goal


def argued(call: Call, goal: str, new: str) -> str:
    """Words in a row that an argument of a call has of the old goal alone, at least two of them its own; '' for none.

    Single words and short runs are what calls are made of: a query names the thing that both goals are about.
    """
    old, own = words(goal), set(content_words(goal)) - set(content_words(new))
    if len(own) < 2 or len(old) < _ARGUED:
        return ""
    told = [f" {fold(str(value))} " for _, value in call.given if isinstance(value, str) and value.count(" ") > 3]
    for start in range(len(old) - _ARGUED + 1) if told else ():
        run = old[start : start + _ARGUED]
        if len(own.intersection(map(stem, run))) >= 2 and any(f" {' '.join(run)} " in text for text in told):
            return " ".join(run)
    return ""


def holds_placeholder(message: Message) -> bool:
    """Whether redaction left a placeholder in a message: nobody should learn to write one."""
    return bool(PLACEHOLDER.search(orjson.dumps(message.wire()).decode()))


def _renumbered(label: str, turns: int) -> str:
    """'Action 7: Finish[' as the third turn: 'Action 3: Finish['."""
    return re.sub(r"(?<=\b[A-Z])([a-z]+ )\d+(?=\s*:)", lambda found: f"{found[1]}{turns + 1}", label, count=1)


def _final_message(seen: View, answer: str, end: int) -> Message | None:
    """The last assistant message. A text agent ends in its own form ('Finish[…]'), or without a final message."""
    text_agent = any(call.is_text for call in seen.calls)
    if not text_agent:
        return Message(role="assistant", content=answer)
    turns = sum(1 for step in seen.trajectory.root_steps if step.message_index is not None and step.message_index < end)
    for step in reversed(seen.trajectory.root_steps):
        for action in step.actions:
            finishing = action.name.casefold() in FINISHING or "_".join(name_words(action.name)) in FINISHING
            if not finishing or step.message_index is None or not action.input:
                continue
            text = seen.messages[step.message_index].text
            place = text.rfind(action.input)
            line = text.rfind("\n", 0, place) + 1
            if place >= 0 and "\n" not in answer:
                before, behind = text[line:place], text[place + len(action.input) :].split("\n")[0]
                return Message(role="assistant", content=_renumbered(before, turns) + answer + behind)
    return None


# --- samples ----------------------------------------------------------------------------------------------------------


def hindsight_sample(
    case: Case, candidate: Candidate, *, goal_id: str, confidence: float, relabeler: str, judges: Iterable[str]
) -> Sample:
    """The accepted candidate as a sample."""
    trajectory = case.trajectory
    return Sample(
        sample_id=_sample_id(trajectory.trajectory_id, case.outcome_rev, candidate.goal, _form(case)),
        trajectory_id=trajectory.trajectory_id,
        goal_id=goal_id,
        kind="hindsight",
        strategy=case.strategy,
        writes=_writes(case.view, candidate.messages),
        goal=candidate.goal,
        original_goal=trajectory.goal,
        messages=candidate.messages,
        tools=trajectory.tools,
        weight=candidate.weight,
        severity=candidate.severity,
        confidence=confidence,
        failure_type=case.analysis.failure_type,
        relabeler=relabeler,
        judges=tuple(judges),
        evidence=candidate.proposal.evidence,
        agent=trajectory.agent,
        policy_version=trajectory.policy_version,
        outcome_rev=case.outcome_rev,
        content_hash=content_hash(candidate.messages, trajectory.tools),
    )


def success_sample(
    trajectory: Trajectory, outcome: Outcome, outcome_rev: int, kinds: Mapping[str, ToolKind] | None = None
) -> Sample | None:
    """A successful run as a sample under its own goal; None where nothing of it can be trained.

    Of a run that is no one model's conversation, the lane is learned whose last words are the answer (`lanes.py`).
    Everything is kept; failed calls, false claims and placeholders are masked, and so is what was cut at capture.
    `kinds` says what the tools of this agent do, where that was declared.
    """
    told = _as_learned(mended(trajectory)) if outcome.label == "success" else None
    if told is None:
        return None
    trajectory = told
    seen = view(trajectory, kinds)
    if seen.goal_index is None:
        return None
    # What another agent said, or a graph put there by itself, follows from nothing that stands here.
    said = {step.message_index for step in trajectory.root_steps} if trajectory.steps else None
    messages = []
    for index, message in enumerate(trajectory.messages):
        train = message.role == "assistant" and index >= trajectory.context_len and index > seen.goal_index
        train = train and (said is None or index in said)
        calls = [call for call in seen.calls if call.at == index]
        if train and calls:
            closing = index == len(trajectory.messages) - 1
            fine = {"empty", "unanswered"} if closing else {"empty"}  # the call that ends a task may get no answer
            train = all(call.ok or call.transient or call.why in fine for call in calls)
        if train and (holds_placeholder(message) or (message.text and _lies(message.text, seen, index))):
            train = False
        if train and not message.tool_calls and not message.text.strip():
            train = False
        messages.append(TrainMessage(message=message, train=train))
    if not any(each.train for each in messages):
        return None
    return Sample(
        sample_id=_sample_id(trajectory.trajectory_id, outcome_rev, trajectory.goal, "success"),
        trajectory_id=trajectory.trajectory_id,
        kind="success",
        writes=_writes(seen, messages),
        goal=trajectory.goal,
        original_goal=trajectory.goal,
        messages=tuple(messages),
        tools=trajectory.tools,
        agent=trajectory.agent,
        policy_version=trajectory.policy_version,
        outcome_rev=outcome_rev,
        content_hash=content_hash(messages, trajectory.tools),
    )


def _as_learned(trajectory: Trajectory) -> Trajectory | None:
    """A run as the conversation that its success speaks for; None where that speaks for none that a model saw."""
    flags = NOT_AS_SEEN.intersection(trajectory.flags)
    if flags == {"spliced"}:
        return concluding(trajectory)
    return None if flags else spoken(trajectory)


def _lies(text: str, seen: View, index: int) -> bool:
    # Whoever called it a success knows how it went on: a message that was queued then may be called sent.
    return bool(false_claims(text, seen, before=index) or waiting_claims(text, seen, before=index, queued=False))


def _writes(seen: View, messages: Sequence[TrainMessage]) -> bool:
    """Whether a sample trains a call that changed something."""
    known = [call for call in seen.calls if call.at < len(messages) and messages[call.at].train]
    return any(call.kind == "write" and call.ok for call in known)


def _form(case: Case) -> str:
    if case.lane:
        return f"lane:{case.lane}"
    return "hindsight" if case.strategy == "final" else f"future:{len(case.view.messages)}"


def _sample_id(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def content_hash(messages: Sequence[TrainMessage], tools: tuple[dict[str, Any], ...] | None) -> str:
    """The hash of what is trained: equal for exact duplicates, whatever run they came from. Call ids do not count."""
    body = [[_without_ids(each.message.wire()), each.train] for each in messages]
    data = orjson.dumps([body, tools], option=orjson.OPT_SORT_KEYS, default=str)
    return hashlib.sha256(data).hexdigest()


def _without_ids(wire: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in wire.items() if key not in ("id", "tool_call_id")}
    if plain.get("tool_calls"):
        plain["tool_calls"] = [{k: v for k, v in call.items() if k != "id"} for call in plain["tool_calls"]]
    return plain
