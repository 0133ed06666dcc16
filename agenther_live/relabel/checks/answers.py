"""What proves a final answer wrong: it claims only what results, arguments or the goal say, and of the right thing."""

from __future__ import annotations

from collections.abc import Iterator

from agenther_live.relabel.checks.claims import false_claims, false_reads, unheard_deeds, waiting_claims
from agenther_live.relabel.checks.confirm import says_another
from agenther_live.relabel.checks.ground import field_in_text
from agenther_live.relabel.checks.grounds import Fault, Ground, number_asked
from agenther_live.relabel.checks.partly import left_undone, says_partly
from agenther_live.relabel.checks.predicates import compile_goal
from agenther_live.relabel.checks.replied import beyond_the_page, unlike_the_record
from agenther_live.relabel.checks.reworded import miscounted, odd_weekday, reworded
from agenther_live.relabel.checks.sets import HowMany
from agenther_live.relabel.checks.telling import another_currency, another_s_figure, denied, out_of_date
from agenther_live.relabel.reading.calls import Call
from agenther_live.relabel.reading.lexicon import CURRENCIES, TRYING
from agenther_live.relabel.reading.mentions import Mention, content_words, figures, find_mentions, stem, words
from agenther_live.relabel.reading.rows import tables

__all__ = ["answer_faults", "sizes"]

_TRYING = frozenset(stem(word) for word in TRYING)


def answer_faults(ground: Ground) -> Iterator[Fault]:
    """The final answer claims only what results, arguments or the goal say."""
    answer = ground.candidate.proposal.final_answer
    if answer is None:
        return
    goal_facts = {mention.norm for mention in find_mentions(ground.candidate.goal)}
    counts = sizes(ground)
    other = reworded(answer, ground.calls, ground.knowledge, ground.candidate.goal)
    for mention in find_mentions(answer):
        if mention.norm in goal_facts or mention.norm in CURRENCIES or mention.kind == "quoted":
            continue
        if ground.knowledge.first(mention) is None and not (
            mention.kind == "name" and _word_by_word(ground, mention.norm)
        ):
            meant = other.get(mention.start, mention)
            if meant is None or ground.knowledge.first(meant) is not None:
                continue
            if mention.kind == "number" and mention.norm in counts and _bare(answer, mention):
                continue
            yield Fault("check:final_answer", f"the final answer says “{mention.text}”, which nothing shows")
    free = goal_facts | figures(ground.case.view.told) | counts
    for why in (
        another_s_figure(answer, ground.calls, frozenset(free)),
        another_currency(answer, ground.calls, ground.case.view.told),
        out_of_date(answer, ground.calls),
        denied(answer, ground.calls),
        beyond_the_page(answer, ground.candidate.goal, ground.calls),
        unlike_the_record(answer, ground.candidate.goal, ground.calls, _known_words(ground)),
        odd_weekday(answer, ground.knowledge),
        miscounted(answer, ground.calls, ground.knowledge, counts),
    ):
        if why is not None:
            yield Fault("check:final_answer", f"the final answer tells what is not so: {why}")
    for call in ground.calls:
        if (why := _of_another(ground, call, answer)) is not None:
            yield Fault("check:final_answer", f"the final answer tells what is not so: {why}")
    for call in ground.calls if not says_partly(answer) else ():
        if call.ok and call.kind != "read" and (part := left_undone(call)) is not None:
            yield Fault("check:final_answer", f"a part of {call.name} was not done (“{part[:80]}”), and nobody says so")
    for sentence in false_reads(answer, ground.case.view, before=ground.end):
        yield Fault("check:final_answer", f"the final answer tells of a look that nobody took: “{sentence[:120]}”")
    for claim in false_claims(answer, ground.case.view, before=ground.end):
        yield Fault("check:final_answer", f"the final answer claims what no call did: “{claim.sentence[:120]}”")
    for sentence in unheard_deeds(answer, ground.case.view, before=ground.end):
        yield Fault("check:final_answer", f"the final answer tells of what nothing shows: “{sentence[:120]}”")
    tried = _TRYING.intersection(content_words(ground.candidate.goal))
    for claim, waits in waiting_claims(answer, ground.case.view, before=ground.end):
        if tried.intersection(content_words(waits)):
            continue  # 'in the test environment': as it was asked
        said = f"“{claim.sentence[:120]}”, and the result says “{waits[:60]}”"
        yield Fault("check:final_answer", f"the final answer says that it was done: {said}")


def _of_another(ground: Ground, call: Call, answer: str) -> str | None:
    """What a look brought of another date, id or number than it was asked for, where the answer does not say so."""
    other = says_another(call) if call.ok and call.kind == "read" else None
    if other is None or call.steers(other[0]):
        return None
    key, given, told = other[0], *(figures(part) for part in other[1].split(" → ", 1))
    asked = (given - told) & (figures(answer) | figures(ground.candidate.goal))
    if not asked or not told - given or (told - given) & figures(answer):
        return None
    return f"{call.name} was asked for {key} {other[1]}"[:200]


def _known_words(ground: Ground) -> frozenset[str]:
    """The words of the goal, of what was told before it, and of all that came back."""
    told = (ground.candidate.goal, ground.case.view.told, *(call.observation or "" for call in ground.calls))
    return frozenset(word for text in told for word in words(text[:20_000]))


def _word_by_word(ground: Ground, norm: str) -> bool:
    return all(ground.knowledge.first(part) is not None for part in norm.split())


def _bare(answer: str, mention: Mention) -> bool:
    """Whether a number is no price and no time: only things are counted."""
    return field_in_text(answer, mention) not in ("money", "time")


def sizes(ground: Ground) -> set[str]:
    """Numbers of the calls and rows of the span ('I found 3 suppliers'), and of what was asked for."""
    found = {len(ground.calls), sum(call.ok for call in ground.calls)}
    found |= {len(table.rows) for table in tables(ground.calls)}
    asked = (each for each in compile_goal(ground.candidate.goal) if isinstance(each, HowMany))
    found |= {counted[0] for each in asked if (counted := number_asked(ground, each)) is not None}
    return set(map(str, found))
