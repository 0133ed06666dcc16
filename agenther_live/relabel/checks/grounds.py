"""What the checks of one candidate hold its goal against: calls, who knew what, and what the run chose.

Predicates of the goal are evaluated here: True and False are proofs, None means that the rows cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from agenther_live.relabel.checks.comparing import (
    answer_breaks,
    answer_untold,
    answers_worse,
    count_untold,
    limit_untold,
    narrowed,
    superlative_untold,
)
from agenther_live.relabel.checks.counting import count_told, rows_counted, table_nouns
from agenther_live.relabel.checks.listed import lines_beat
from agenther_live.relabel.checks.predicates import Bound, Count, Predicate, Superlative, compile_goal, holds, is_best
from agenther_live.relabel.checks.reworded import Other, reworded
from agenther_live.relabel.checks.sets import HowMany, OneOf
from agenther_live.relabel.models import Candidate, Case
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.lexicon import GOAL_WORDS, OPENERS
from agenther_live.relabel.reading.mentions import fold, stem
from agenther_live.relabel.reading.rows import Row, Selection, Table, same, select, tables

__all__ = [
    "SAID",
    "Fault",
    "Ground",
    "evaluate",
    "ground_of",
    "number_asked",
    "proven_places",
    "revealed",
    "untold",
]

SAID = frozenset(stem(word) for word in OPENERS | GOAL_WORDS)  # words of requests that say nothing of their own


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a candidate is refused: the counted word, and the sentence."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Ground:
    """What the checks of one candidate share."""

    case: Case
    candidate: Candidate
    end: int
    calls: tuple[Call, ...]
    knowledge: Knowledge
    proven: frozenset[int]
    selections: tuple[Selection, ...]

    @cached_property
    def reworded(self) -> Other:
        """What mentions of the goal mean in other words."""
        return reworded(self.candidate.goal, self.calls, self.knowledge)


def ground_of(case: Case, candidate: Candidate) -> Ground:
    """Look everything up once for a candidate; the last one is kept in the view."""
    known = case.view.cache.get("ground")
    if known is not None and known[0] is candidate:
        ground: Ground = known[1]
        return ground
    end = candidate.end
    calls = tuple(call for call in case.view.calls if call.at < end)
    knowledge = Knowledge(case.view, end=end)
    selections = tuple(_chosen(calls, knowledge, candidate))
    bare = Ground(case, candidate, end, calls, knowledge, frozenset(), selections)
    proven = {
        each.at
        for each in compile_goal(candidate.goal)
        if isinstance(each, Bound | Count) and evaluate(bare, each) is True
    }
    # A mention may begin at its currency sign, one place before the digits.
    ground = Ground(case, candidate, end, calls, knowledge, frozenset(proven | {at - 1 for at in proven}), selections)
    case.view.cache["ground"] = (candidate, ground)
    return ground


def proven_places(case: Case, candidate: Candidate) -> frozenset[int]:
    """Where in the goal the numbers stand that a compiled limit or count proves."""
    return ground_of(case, candidate).proven


def _chosen(calls: Sequence[Call], knowledge: Knowledge, candidate: Candidate) -> Iterator[Selection]:
    """What the run chose: by its writes; without a write, what its final answer names first among things compared."""
    writes = [call for call in calls if call.ok and call.kind != "read"]
    for call in writes:
        for param, value in call.args.items():
            if isinstance(value, str) and not call.steers(param) and revealed(knowledge, value, call):
                known = f"chose {param}"  # the same for every goal: all calls before it are in every span that has it
                if known not in call.cache:
                    call.cache[known] = select(call, param, [c for c in calls if c.number < call.number])
                found: Selection | None = call.cache[known]
                if found is not None:
                    yield found
    if writes:
        return
    answer = f" {fold(candidate.proposal.final_answer or '')} "
    named: list[tuple[int, Call, str]] = []
    for call in calls:
        for param, value in call.args.items():
            place = answer.find(f" {fold(value)} ") if isinstance(value, str) and fold(value) else -1
            if call.ok and place >= 0 and revealed(knowledge, str(value), call):
                named.append((place, call, param))
    for _, call, param in sorted(named, key=lambda each: each[0])[:1]:
        found = select(call, param, calls)
        if found is not None:
            yield found


def revealed(knowledge: Knowledge, value: str, call: Call) -> bool:
    """Whether a result was the first to show a value, before this call was given it."""
    first = knowledge.first(value)
    return first is not None and first[1] == "seen" and first[0] < call.at


def evaluate(ground: Ground, each: Predicate) -> bool | None:
    """Whether a requirement holds for what the run chose, or for what its answer tells."""
    asked = [other for other in compile_goal(ground.candidate.goal) if isinstance(other, HowMany)]
    if not isinstance(each, HowMany) and (inside := [one for one in asked if one.start <= each.start < one.end]):
        return told_count(ground, inside[0])  # it says what is to be counted
    if isinstance(each, HowMany):
        return told_count(ground, each)
    if isinstance(each, OneOf):
        return among(ground, each)
    if isinstance(each, Count):
        return counted(ground, each)
    rows = chosen_rows(ground)
    if isinstance(each, Bound):
        answers = [answer for row in rows if (answer := holds(each, row)) is not None]
        if not answers and not any(call.ok and call.kind != "read" for call in ground.calls):
            told = ground.candidate.proposal.final_answer or ""
            return False if answer_breaks(each, told, ground.calls) else None
        return None if not answers else all(answers)
    limits = [other for other in compile_goal(ground.candidate.goal) if isinstance(other, Bound)]
    choices = [narrowed(selection, ground.candidate.goal) for selection in ground.selections]
    answers = [answer for selection in choices if (answer := is_best(each, selection, limits)) is not None]
    if answers:
        return all(answers)
    told = ground.candidate.proposal.final_answer or ""
    acted = any(call.ok and call.kind != "read" for call in ground.calls)
    if acted:
        given = [
            value
            for call in ground.calls
            if call.ok and call.kind != "read"
            for _, value in call.given
            if isinstance(value, str) and revealed(ground.knowledge, value, call)
        ]
        return False if lines_beat(each, ground.candidate.goal, given, ground.calls) else None
    return False if answers_worse(each, ground.candidate.goal, told, ground.calls, limits) else None


def untold(ground: Ground, each: Predicate) -> str | None:
    """Why a requirement that nothing proves can be known by nobody: rows speak of it, and cannot be compared."""
    compiled = compile_goal(ground.candidate.goal)
    answer = ground.candidate.proposal.final_answer or ""
    if isinstance(each, HowMany):
        return count_untold(each, answer, ground.calls)
    if any(isinstance(other, HowMany) and other.start <= each.start < other.end for other in compiled):
        return None
    if isinstance(each, Bound):
        return limit_untold(each, chosen_rows(ground))
    if not isinstance(each, Superlative):
        return None
    limits = [other for other in compiled if isinstance(other, Bound)]
    if ground.selections or any(call.ok and call.kind != "read" for call in ground.calls):
        choices = [narrowed(selection, ground.candidate.goal) for selection in ground.selections]
        return superlative_untold(each, choices, limits, ground.calls)
    return answer_untold(each, ground.candidate.goal, answer, ground.calls, limits)


def chosen_rows(ground: Ground) -> list[Row]:
    """The rows that limits speak of: results of writes and what they chose; without a write, what the answer chose."""
    rows = [selection.chosen for selection in ground.selections]
    for call in ground.calls:
        if call.ok and call.kind == "write":
            own = [row for table in tables([call]) for row in table.rows]
            rows += own if len(own) == 1 else []
    return rows


def counted(ground: Ground, each: Count) -> bool | None:
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


def told_count(ground: Ground, each: HowMany) -> bool | None:
    """Whether the final answer gives the number that was asked for, as the rows have it."""
    found, answer = number_asked(ground, each), ground.candidate.proposal.final_answer
    return None if found is None or answer is None else count_told(answer, found[0], table_nouns(found[1]))


def number_asked(ground: Ground, each: HowMany) -> tuple[int, Table] | None:
    """The number that a question asks for, out of the results that are cited, and the table that has it."""
    goal = ground.candidate.goal
    bounds = [other for other in compile_goal(goal) if isinstance(other, Bound)]
    served = set(ground.candidate.proposal.evidence)
    return rows_counted(each, goal, bounds, [c for c in ground.calls if c.at in served or c.observed_at in served])


def among(ground: Ground, each: OneOf) -> bool | None:
    """Whether what the run chose is one of these things (or none of them), by the one column that names them.

    Where nothing was chosen ("who is older, Ann or Bob?"), whether the answer names just one of them.
    """
    seen = [row for table in tables(ground.calls) for row in table.rows]
    held = {name for row in seen for name, cell in row.cells.items() if any(same(cell, one) for one in each.values)}
    chosen = [row.cells[name] for row in chosen_rows(ground) for name in held if name in row.cells]
    if not chosen and not each.never:
        answer = f" {fold(ground.candidate.proposal.final_answer or '')} "
        return True if sum(f" {fold(one)} " in answer for one in each.values) == 1 else None
    if len(held) != 1 or not chosen:
        return None
    return all(any(same(cell, one) for one in each.values) != each.never for cell in chosen)
