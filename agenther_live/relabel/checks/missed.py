"""What of the failed goal the run did not reach, as far as anybody knows, and whether another goal still asks for it.

A goal in hindsight must differ from the failed one in what failed, and not beside it: one that drops a harmless word
and keeps the requirement that failed is as false as the failed goal. Known are the parts that rows refute, and those
that a detector, an outcome judge or the relabeler itself named. Where nobody named any the judges are shown the failed
goal instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from agenther_live.relabel.checks.grounds import SAID, Ground, evaluate, ground_of
from agenther_live.relabel.checks.predicates import Bound, Count, Predicate, Superlative, compile_goal, phrase_start
from agenther_live.relabel.checks.sets import HowMany, OneOf
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import Candidate, Case, Proposal, Requirement
from agenther_live.relabel.reading.lexicon import CURRENCIES
from agenther_live.relabel.reading.mentions import content_words, find_mentions, fold, stem

__all__ = ["known", "named", "noted", "put_to_judges", "still_asked"]

_MOST, _LONGEST, _LONGEST_GOAL = 6, 200, 600
_NOTED = re.compile(r"not met: ((?:“[^”]*”(?:; )?)+)")


def named(parts: Iterable[str], goal: str) -> tuple[str, ...]:
    """What a model named as missed, cleaned: short, each once, and in words of the failed goal (half of them at least).

    An outsider's part says nothing of that goal, and is left out.
    """
    has = set(content_words(goal))
    found: dict[str, str] = {}
    for part in parts:
        text = " ".join(visible(part).split()).strip(" .,;“”")[:_LONGEST]
        said = set(content_words(text))
        if said and (2 * len(said & has) >= len(said) or _copied(text, goal)):
            found.setdefault(fold(text), text)
    return tuple(found.values())[:_MOST]


def known(case: Case) -> tuple[str, ...]:
    """The parts of the failed goal that this run missed, known before any goal is proposed."""
    told = _read(case.outcome.reason or "") if case.outcome.source == "judge" else ()
    goal = f"{case.trajectory.goal}\n{case.asked}" if case.asked else case.trajectory.goal
    return named((*_by_rows(case), *case.analysis.missed, *told), goal)


def noted(unmet: Iterable[str], comment: str) -> str:
    """An outcome judge's comment with the requirements that it found unmet, in a form that is read again later."""
    parts = [" ".join(visible(each).split()).replace("“", "").replace("”", "")[:120] for each in unmet][:3]
    said = "; ".join(f"“{part}”" for part in parts if part)
    return f"not met: {said}. {comment}" if said else comment


def _read(comment: str) -> list[str]:
    found = _NOTED.match(comment)
    return re.findall("“([^”]*)”", found[1]) if found else []


def put_to_judges(case: Case, candidate: Candidate) -> tuple[str, ...]:
    """What the judges are asked about: the parts that are known, else the failed goal.

    Of the failed goal itself nothing is said: whether the run met it is then the question.
    """
    goal = case.failed_goal
    if fold(candidate.goal) == fold(goal):
        return ()
    parts = named((*case.missed, *candidate.proposal.missed), goal)
    return parts or ((goal if len(goal) <= _LONGEST_GOAL else f"{goal[:_LONGEST_GOAL]} …"),) if goal.strip() else ()


def still_asked(ground: Ground) -> Iterator[str]:
    """The parts known as missed that a candidate's goal asks for as before, but for what rows prove of this span."""
    proposal = ground.candidate.proposal
    for part in dict.fromkeys((*ground.case.missed, *proposal.missed)):
        kept = _kept(proposal.hindsight_goal, part)
        if kept is None:
            continue
        compiled, all_of_it = kept
        if not (all_of_it and compiled and all(evaluate(ground, each) is True for each in compiled)):
            yield part


def _kept(goal: str, part: str) -> tuple[list[Predicate], bool] | None:
    """None where the goal dropped or changed some of a part.

    Else what the goal's own words for it compile to, and whether the part says nothing besides.
    """
    has = compile_goal(goal)
    plain, same = part, list[Predicate]()
    for each in reversed(compile_goal(part)):
        alike = [other for other in has if _as_much(other, each)]
        if not alike:
            return None
        same += alike
        if not isinstance(each, HowMany):  # what is counted stands in its words
            plain = plain[: phrase_start(plain, each)] + " " + plain[each.end :]
    words = set(content_words(plain)) - SAID
    facts = {mention.norm for mention in find_mentions(plain)} - CURRENCIES
    if not (words or facts or same):
        return None  # it says nothing of its own
    if _copied(part, goal):
        return same, not (words or facts)
    if words <= set(content_words(goal)) and facts <= {mention.norm for mention in find_mentions(goal)}:
        return same, not (words or facts)
    return None


def _copied(part: str, goal: str) -> bool:
    """Whether a part stands in a goal word for word; scripts without blanks have no words to compare else."""
    own, whole = fold(part), fold(goal)
    return len(own) > 1 and (f" {own} " in f" {whole} " if own.isascii() else own in whole)


def _as_much(mine: Predicate, theirs: Predicate) -> bool:
    """Whether one requirement asks for all that the other asks."""
    match mine, theirs:
        case Bound(), Bound():
            if mine.topic != theirs.topic or mine.sign[0] != theirs.sign[0]:
                return False
            if mine.topic in ("time", "other") and stem(mine.unit) != stem(theirs.unit):
                return False
            return mine.value <= theirs.value if mine.sign[0] == "<" else mine.value >= theirs.value
        case Count(), Count():
            return stem(mine.noun) == stem(theirs.noun) and mine.value >= theirs.value
        case Superlative(), Superlative():
            return (mine.topic, mine.most, stem(mine.noun)) == (theirs.topic, theirs.most, stem(theirs.noun))
        case HowMany(), HowMany():
            return mine.nouns == theirs.nouns
        case OneOf(), OneOf():
            one, other = ({fold(value) for value in each.values} for each in (mine, theirs))
            return mine.never == theirs.never and (one >= other if mine.never else one <= other)
    return False


def _by_rows(case: Case) -> Iterator[str]:
    """The compiled requirements of the failed goal that do not hold for the whole run and the answer it gave."""
    run = case.trajectory
    goal = run.goal[:4000]
    compiled = compile_goal(goal)
    shown = tuple(i for call in case.view.calls if call.ok for i in (call.at, call.observed_at) if i is not None)
    if not compiled or not shown:
        return
    whole = Proposal(goal, 1.0, True, len(run.messages), (Requirement(goal, shown),), run.final_answer)
    ground = ground_of(case, Candidate(whole, (), end=len(run.messages), weight=1.0, severity=0.0))
    for each in compiled:
        if evaluate(ground, each) is False:
            yield goal[phrase_start(goal, each) : each.end]
