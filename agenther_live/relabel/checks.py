"""The deterministic checks: what proves a goal or its demonstration wrong, before any judge is paid.

`refute` finds definite faults and holds for every relabeler and panel. `doubts` asks more: it is what the judge
`rules` adds, for whom every part of a goal must be proven. T, S, C, W, L are the five questions of acceptance: true,
stops where it should, no better choice was seen, every write is asked for, nothing is leaked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agenther_live.redact import PLACEHOLDER
from agenther_live.relabel.calls import Call, name_words
from agenther_live.relabel.claims import false_claims
from agenther_live.relabel.demonstrate import cites
from agenther_live.relabel.ground import field_conflict, leaked, ungrounded
from agenther_live.relabel.knowledge import Knowledge
from agenther_live.relabel.lexicon import CURRENCIES, GOAL_WORDS, OPENERS, STEERING, SYNONYMS, WRITING
from agenther_live.relabel.mentions import content_words, find_mentions, fold, number, stem
from agenther_live.relabel.models import Candidate, Case
from agenther_live.relabel.predicates import Bound, Count, Superlative, compile_goal, holds, is_best, phrase_start
from agenther_live.relabel.rows import Row, Selection, better, headline, select, tables

__all__ = ["Fault", "doubts", "proofs", "refute", "same_goal"]

_CUT_FLAGS = frozenset(("truncated", "partial", "partial_tree"))
_SAID = frozenset(stem(word) for word in OPENERS | GOAL_WORDS)


_DEEDS = frozenset(stem(word) for word in WRITING)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a candidate is refused: the counted word, and the sentence."""

    reason: str
    detail: str


@dataclass(frozen=True)
class _Ground:
    """What the checks of one candidate share."""

    case: Case
    candidate: Candidate
    end: int
    calls: tuple[Call, ...]
    knowledge: Knowledge
    proven: frozenset[int]
    selections: tuple[Selection, ...]


def refute(case: Case, candidate: Candidate) -> Fault | None:
    """The first definite fault of a candidate; None where there is none."""
    ground = _ground(case, candidate)
    for check in (_form, _difference, _evidence, _conversation, _limits, _grounding, _leaks, _writes, _choice, _answer):
        fault = next(check(ground), None)
        if fault is not None:
            return fault
    return None


def doubts(case: Case, candidate: Candidate) -> Fault | None:
    """What is not proven about a candidate that no check refutes."""
    ground = _ground(case, candidate)
    for check in (_every_word, _every_argument, _every_predicate, _one_turn, _bare_prompt, _no_detours, _ending):
        fault = next(check(ground), None)
        if fault is not None:
            return fault
    return None


def proofs(case: Case, candidate: Candidate) -> int:
    """How many requirements of the goal were compiled and proven."""
    ground = _ground(case, candidate)
    return sum(1 for each in compile_goal(candidate.goal) if _evaluate(ground, each) is True)


def _ground(case: Case, candidate: Candidate) -> _Ground:
    end = candidate.end
    calls = tuple(call for call in case.view.calls if call.at < end)
    knowledge = Knowledge(case.view, end=end)
    selections = tuple(_selections(calls, knowledge, candidate))
    bare = _Ground(case, candidate, end, calls, knowledge, frozenset(), selections)
    proven = {
        each.at
        for each in compile_goal(candidate.goal)
        if isinstance(each, Bound | Count) and _evaluate(bare, each) is True
    }
    # A mention may begin at its currency sign, one place before the digits.
    return _Ground(case, candidate, end, calls, knowledge, frozenset(proven | {at - 1 for at in proven}), selections)


# --- what a predicate is held against ---------------------------------------------------------------------------------


def _selections(calls: Sequence[Call], knowledge: Knowledge, candidate: Candidate) -> Iterator[Selection]:
    """What the run chose: by its writes; without a write, what its final answer names first among things compared."""
    writes = [call for call in calls if call.ok and call.kind != "read"]
    for call in writes:
        for param, value in call.args.items():
            if isinstance(value, str) and param.casefold() not in STEERING and _revealed(knowledge, value, call):
                found = select(call, param, [c for c in calls if c.number < call.number])
                if found is not None:
                    yield found
    if writes:
        return
    answer = f" {fold(candidate.proposal.final_answer or '')} "
    named: list[tuple[int, Call, str]] = []
    for call in calls:
        for param, value in call.args.items():
            place = answer.find(f" {fold(value)} ") if isinstance(value, str) and fold(value) else -1
            if call.ok and place >= 0 and _revealed(knowledge, str(value), call):
                named.append((place, call, param))
    for _, call, param in sorted(named, key=lambda each: each[0])[:1]:
        found = select(call, param, calls)
        if found is not None:
            yield found


def _revealed(knowledge: Knowledge, value: str, call: Call) -> bool:
    first = knowledge.first(value)
    return first is not None and first[1] == "seen" and first[0] < call.at


def _evaluate(ground: _Ground, each: Bound | Superlative | Count) -> bool | None:
    if isinstance(each, Count):
        return _counted(ground, each)
    rows = _chosen_rows(ground)
    if isinstance(each, Bound):
        answers = [answer for row in rows if (answer := holds(each, row)) is not None]
        return None if not answers else all(answers)
    limits = [other for other in compile_goal(ground.candidate.goal) if isinstance(other, Bound)]
    answers = [answer for selection in ground.selections if (answer := is_best(each, selection, limits)) is not None]
    return None if not answers else all(answers)


def _chosen_rows(ground: _Ground) -> list[Row]:
    """The rows that limits speak of: results of writes and what they chose; without a write, what the answer chose."""
    rows = [selection.chosen for selection in ground.selections]
    for call in ground.calls:
        if call.ok and call.kind == "write":
            own = [row for table in tables([call]) for row in table.rows]
            rows += own if len(own) == 1 else []
    return rows


def _counted(ground: _Ground, each: Count) -> bool | None:
    wanted = stem(each.noun)
    values: set[str] = set()
    known = False
    for call in ground.calls:
        if not call.ok:
            continue
        for key, value in call.args.items():
            if wanted in {stem(word) for word in name_words(key)}:
                known = True
                values.add(fold(str(value)))
    return len(values) >= each.value if known else None


# --- definite faults --------------------------------------------------------------------------------------------------


def _form(ground: _Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    if len(content_words(goal)) < 2 or len(goal) > 4000:
        yield Fault("check:form", "the goal is empty or far too long")
    if PLACEHOLDER.search(goal) or PLACEHOLDER.search(ground.candidate.proposal.final_answer or ""):
        yield Fault("check:placeholder", "the goal or the answer holds a redaction placeholder")
    if _CUT_FLAGS.intersection(ground.case.trajectory.flags):
        yield Fault("check:truncated", "parts of the run were cut at capture, so nothing about it is certain")


def same_goal(new: str, old: str) -> bool:
    """Whether a hindsight goal asks for all that the failed goal asked."""
    if fold(new) == fold(old):
        return True
    had, has = set(content_words(old)), set(content_words(new))
    lost = {word for word in had - has if word not in _SAID}
    gained = {word for word in has - had if word not in _SAID}
    if lost or not old.strip():
        facts = {mention.norm for mention in find_mentions(old)} ^ {mention.norm for mention in find_mentions(new)}
        marks = {type(each).__name__ + str(getattr(each, "topic", "")) for each in compile_goal(old)} ^ {
            type(each).__name__ + str(getattr(each, "topic", "")) for each in compile_goal(new)
        }
        return not (facts - CURRENCIES or marks or len(lost) >= 2 or gained)
    return True


def _difference(ground: _Ground) -> Iterator[Fault]:
    if same_goal(ground.candidate.goal, ground.case.trajectory.goal):
        yield Fault(
            "check:same_goal", "the goal asks for all that the failed goal asked, and that was judged not to be reached"
        )


def _evidence(ground: _Ground) -> Iterator[Fault]:
    worked = {index for call in ground.calls if call.ok for index in (call.at, call.observed_at) if index is not None}
    seen = ground.case.view.observation_indices
    for requirement in ground.candidate.proposal.requirements:
        if not any(index in worked and index < ground.end for index in requirement.messages):
            yield Fault("check:evidence", f"no result of a call that worked shows “{requirement.text[:120]}”")
        if any(index >= ground.end or (index not in seen and index not in worked) for index in requirement.messages):
            yield Fault("check:evidence", f"“{requirement.text[:120]}” cites messages outside of what is kept")
    if not ground.candidate.proposal.requirements:
        yield Fault("check:evidence", "the goal comes without a requirement that could be proven")


def _conversation(ground: _Ground) -> Iterator[Fault]:
    """S and form: no unanswered call, no trace of the old goal that the user's message no longer explains."""
    view = ground.case.view
    for call in ground.calls:
        if call.why == "unanswered":
            yield Fault("check:unanswered", f"the span holds a call of {call.name} that was never answered")
    old = fold(ground.case.trajectory.goal)
    if len(old) >= 12:
        for index in range(ground.case.trajectory.context_len, ground.end):
            if index == view.goal_index:
                prompt = ground.candidate.messages[index].message.text
                if cites(
                    prompt.replace(ground.candidate.goal, " ", 1), ground.case.trajectory.goal, ground.candidate.goal
                ):
                    yield Fault("check:old_goal", "the user's message goes on about the failed goal")
            elif view.messages[index].role != "assistant" and old in fold(view.messages[index].text):
                yield Fault("check:old_goal", f"message {index} repeats the failed goal")


def _limits(ground: _Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    for each in compile_goal(goal):
        if _evaluate(ground, each) is False:
            yield Fault(
                "check:choice" if isinstance(each, Superlative) else "check:constraint",
                f"“{goal[each.start : each.end]}” is not so",
            )


def _grounding(ground: _Ground) -> Iterator[Fault]:
    for mention in ungrounded(ground.candidate.goal, ground.knowledge, ground.proven):
        yield Fault("check:grounding", f"no result and no argument shows “{mention.text}”")
    conflict = field_conflict(ground.candidate.goal, ground.calls, ground.proven)
    if conflict is not None:
        yield Fault("check:grounding", f"“{conflict.text}” stands in another field of the evidence than in the goal")


def _leaks(ground: _Ground) -> Iterator[Fault]:
    for mention in leaked(ground.candidate.goal, ground.knowledge, ground.proven):
        yield Fault("check:leak", f"“{mention.text}” was first revealed by a result")


def _writes(ground: _Ground) -> Iterator[Fault]:
    """W: every write that worked is asked for, by its verb or noun and with the numbers and ids it was given."""
    goal_stems = set(content_words(ground.candidate.goal))
    goal_facts = {mention.norm for mention in find_mentions(ground.candidate.goal)}
    done: set[str] = set()
    for call in ground.calls:
        if not call.ok or call.kind != "write":
            continue
        if call.signature in done:
            yield Fault("check:writes", f"{call.name} was made twice with the same arguments")
        done.add(call.signature)
        if not {stem(part) for part in name_words(call.name)} & (goal_stems | _synonyms(goal_stems)):
            yield Fault("check:writes", f"the goal does not ask for {call.name}, which worked")
        for key, value in call.args.items():
            if key.casefold() in STEERING or isinstance(value, bool) or not isinstance(value, int | float | str):
                continue
            if _revealed(ground.knowledge, str(value), call) or _said_later(ground, str(value)):
                continue
            exact = number(str(value)) if isinstance(value, int | float) else None
            if exact is not None and exact not in goal_facts:
                yield Fault("check:writes", f"{call.name} was given {key}={value}, which the goal does not ask for")


def _said_later(ground: _Ground, value: str) -> bool:
    """Whether the user told it in a later message, which the sample keeps."""
    first = ground.knowledge.first(value)
    return first is not None and first[1] == "told" and first[0] > (ground.case.view.goal_index or 0)


def _synonyms(stems: set[str]) -> set[str]:
    found: set[str] = set()
    for words in SYNONYMS:
        group = {stem(word) for word in words}
        if group & stems:
            found |= group
    return found


def _choice(ground: _Ground) -> Iterator[Fault]:
    """C: no row that the run saw beats the one it chose, unless the goal itself says what counts."""
    said = compile_goal(ground.candidate.goal)
    if any(isinstance(each, Superlative) and _evaluate(ground, each) is True for each in said):
        return
    limits = [each for each in said if isinstance(each, Bound)]
    for selection in ground.selections:
        if not any(call.kind == "write" for call in ground.calls if call.ok):
            continue
        rivals = [row for row in selection.peers if all(holds(limit, row) is not False for limit in limits)]
        columns = headline(selection.peers)
        if columns and any(better(row, selection.chosen, columns) for row in rivals):
            yield Fault("check:choice", f"the run saw a row that beats {selection.param}={selection.value!r}")


def _answer(ground: _Ground) -> Iterator[Fault]:
    """The final answer claims only what results, arguments or the goal say."""
    answer = ground.candidate.proposal.final_answer
    if answer is None:
        return
    goal_facts = {mention.norm for mention in find_mentions(ground.candidate.goal)}
    for mention in find_mentions(answer):
        if mention.norm in goal_facts or mention.norm in CURRENCIES or mention.kind == "quoted":
            continue
        if ground.knowledge.first(mention) is None and not (
            mention.kind == "name" and _word_by_word(ground, mention.norm)
        ):
            if mention.kind == "number" and _small_count(ground, mention.norm):
                continue
            yield Fault("check:final_answer", f"the final answer says “{mention.text}”, which nothing shows")
    for claim in false_claims(answer, ground.case.view, before=ground.end):
        yield Fault("check:final_answer", f"the final answer claims what no call did: “{claim.sentence[:120]}”")


def _word_by_word(ground: _Ground, norm: str) -> bool:
    return all(ground.knowledge.first(part) is not None for part in norm.split())


def _small_count(ground: _Ground, norm: str) -> bool:
    """Whether a number counts the calls or rows of the span ('I found 3 suppliers')."""
    sizes = {len(ground.calls), sum(call.ok for call in ground.calls)}
    sizes |= {len(table.rows) for table in tables(ground.calls)}
    return norm.isdigit() and int(norm) in sizes


# --- what `rules` wants proven besides --------------------------------------------------------------------------------


def _every_word(ground: _Ground) -> Iterator[Fault]:
    """T: no word of the goal is there that neither the run's calls and results nor the tools know."""
    named = {stem(part) for call in ground.calls if call.ok for part in name_words(call.name)}
    deeds = _DEEDS - named - _synonyms(named)
    known = set(_SAID)
    for call in ground.calls:
        known.update(stem(part) for part in name_words(call.name))
        for key, value in call.args.items():
            known.update(stem(part) for part in name_words(key))
            known.update(content_words(str(value)))
        if call.ok:
            known.update(content_words(call.observation or ""))
    proven = [each for each in compile_goal(ground.candidate.goal) if _evaluate(ground, each) is True]
    goal = ground.candidate.goal
    for each in sorted(proven, key=lambda found: -found.start):
        goal = f"{goal[: phrase_start(goal, each)]} {goal[each.end :]}"
    for word in content_words(goal):
        if word in deeds:
            yield Fault("rules:deeds", f"the goal says “{word}”, and no call did that")
        if word not in known and word not in {stem(other) for other in known}:
            yield Fault("rules:words", f"nothing in the run knows the word “{word}” of the goal")


def _every_argument(ground: _Ground) -> Iterator[Fault]:
    """T and W: what the agent put into its useful calls out of its own head must stand in the goal."""
    goal_stems = set(content_words(ground.candidate.goal))
    trained = {index for index, each in enumerate(ground.candidate.messages) if each.train}
    told = " ".join(
        m.text
        for m in ground.case.view.messages[: ground.case.view.goal_index or 0]
        if m.role in ("system", "developer")
    )
    system = set(content_words(told[:50_000]))
    for call in ground.calls:
        if not call.ok or call.at not in trained:
            continue
        for key, value in call.args.items():
            if (
                key.casefold() in STEERING
                or isinstance(value, bool)
                or not isinstance(value, str | int | float)
                or value == ""
            ):
                continue
            if _revealed(ground.knowledge, str(value), call):
                continue
            missing = {word for word in content_words(str(value)) if word not in goal_stems and word not in system}
            if missing:
                yield Fault(
                    "rules:arguments", f"{call.name} was given {key}={str(value)[:60]!r}, which the goal does not say"
                )


def _every_predicate(ground: _Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    for each in compile_goal(goal):
        if _evaluate(ground, each) is None:
            yield Fault("rules:predicate", f"nothing proves “{goal[each.start : each.end]}”")


def _one_turn(ground: _Ground) -> Iterator[Fault]:
    """S: rules cannot read what a later user message does to the goal, so there must be none."""
    if ground.case.view.turn_end < ground.end:
        yield Fault("rules:turns", "the span holds a second message of the user")


def _bare_prompt(ground: _Ground) -> Iterator[Fault]:
    """S: text of the user's behind the goal (reflections, say) was written for the failed one; rules cannot read it."""
    at = ground.case.view.goal_index
    if at is not None:
        behind = ground.candidate.messages[at].message.text.partition(ground.candidate.goal)[2]
        if len(content_words(behind)) >= 8:
            yield Fault("rules:prompt", "the user's message goes on behind the goal")


def _no_detours(ground: _Ground) -> Iterator[Fault]:
    trained = {index for index, each in enumerate(ground.candidate.messages) if each.train}
    acting = {call.at for call in ground.calls}
    if acting and len(acting & trained) * 2 < len(acting):
        yield Fault("rules:detours", "less than half of the turns serve the goal")


def _ending(ground: _Ground) -> Iterator[Fault]:
    last = max((call for call in ground.calls if call.ok), key=lambda call: call.at, default=None)
    served = set(ground.candidate.proposal.evidence)
    if last is None or not (last.at in served or last.observed_at in served):
        yield Fault("rules:ending", "the span goes on after the goal was reached")
    final = ground.candidate.messages[-1]
    if len(ground.candidate.messages) == ground.end or not final.train:
        yield Fault("rules:ending", "the sample has no final answer")
