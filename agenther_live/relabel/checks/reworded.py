"""What evidence shows in another form than a text has it: months, weekdays, times of UTC, verbs, numbers in words.

`reworded` says which mentions of a text mean what, for the checks that look for what nothing shows; the other two find
what is wrong in just these words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from agenther_live.relabel.checks.predicates import compile_goal
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.dates import falls_on, month_of, months_said, weekdays_said
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.mentions import Mention, begins_sentence, find_mentions, number, stem
from agenther_live.relabel.reading.spelled import spelled

__all__ = ["Other", "miscounted", "odd_weekday", "reworded"]

Other = dict[int, Mention | None]

_IN = re.compile(r"(?:(?P<rest>.+?)\s+(?:in|of|for|and)\s+)?(?P<month>[A-Za-z]+)$", re.DOTALL)
_ZONE = re.compile(r"\s{0,3}(?:UTC|GMT)\b(?![+-])")
_VERB_BEHIND = re.compile(
    r"\s+(?!(?:is|was|are|were|be|has|had|have|will|would|does|did|should|can|could|must|and|or)\b)\S", re.IGNORECASE
)
_ASKING = re.compile(r"\b(?:please|then)\s$", re.IGNORECASE)
_NOUN = re.compile(r"\s{1,3}([a-z]+)(?!\w)(?:\s{1,3}(\w+))?")
# Behind a number that is a difference, and no count of what the calls were given.
_DIFFERENCE = re.compile(
    r"(?:earlier|later|more|less|fewer|longer|shorter|before|after|ago|away|of|older|left)", re.IGNORECASE
)


def reworded(text: str, calls: Sequence[Call], knowledge: Knowledge, beside: str = "") -> Other:
    """The mentions of a text that say a thing in other words, by their places: what they mean, as evidence has it.

    None where there is nothing to show: a weekday that its date has, a verb that begins a sentence and that a tool's
    name has too. A month without its year means that of `beside` (the goal of an answer).
    """
    found: Other = {}
    said = find_mentions(text)
    names = [each for each in said if each.kind == "name"]
    if names:
        _months(text, beside, names, knowledge, found)
        weekdays = {each.start: each for each in weekdays_said(text)}
        dates = _dates(knowledge) if weekdays else ()
        for each in names:
            one = weekdays.get(each.start)
            if one is not None and each.end <= one.end and falls_on(one.day, one.date, dates):
                found[each.start] = None
        done = {stem(part) for call in calls if call.ok for part in name_words(call.name)}
        found.update((each.start, None) for each in names if stem(each.norm) in done and _begins(text, each))
    for each in said:
        zone = _ZONE.match(text, each.end) if each.kind == "time" else None
        meant = replace(each, norm=f"{each.norm}Z")
        if zone is not None and knowledge.shown(meant, "input", "seen"):
            found[each.start] = meant
            begin, end = zone.span()
            found.update((other.start, None) for other in names if begin <= other.start and other.end == end)
    return found


def _months(text: str, beside: str, names: Sequence[Mention], knowledge: Knowledge, found: Other) -> None:
    if not any(month_of(each.norm.rpartition(" ")[2]) for each in names):
        return
    here = dict(months_said(text))
    known = {*here.values(), *(norm for _, norm in months_said(beside))}
    for each in names:
        match = _IN.match(each.text)
        month = month_of(match["month"]) if match else None
        if match is None or month is None:
            continue
        place = each.start + match.start("month")
        meant = {here[place]} if place in here else {norm for norm in known if int(norm[5:]) == month}
        if len(meant) != 1 or (match["rest"] and not knowledge.shown(match["rest"], "input", "seen")):
            continue
        found[each.start] = Mention("date", each.text, meant.pop(), each.start, each.end)


def _begins(text: str, mention: Mention) -> bool:
    """Whether it stands where the verb of a request does."""
    start = mention.start
    if " " in mention.norm or _VERB_BEHIND.match(text, mention.end) is None:
        return False
    return begins_sentence(text, start) or _ASKING.search(text[max(0, start - 10) : start]) is not None


def _dates(knowledge: Knowledge) -> Collection[str]:
    return {each for _, source, _, shown in knowledge.entries if source != "told" for each in shown if len(each) == 10}


def odd_weekday(text: str, knowledge: Knowledge) -> str | None:
    """A weekday beside a date that is another day of the week."""
    found = list(weekdays_said(text))
    dates = _dates(knowledge) if found else ()
    for each in found:
        if falls_on(each.day, each.date, dates) is False:
            return f"{each.date} is no {text[each.start : each.end]}"
    return None


def miscounted(text: str, calls: Sequence[Call], knowledge: Knowledge, sizes: Collection[str]) -> str | None:
    """A number in words of a thing that calls were given another number of ('three nights', `nights: 2`).

    `sizes` are the numbers of calls and rows, which nobody was given.
    """
    worked = [call for call in calls if call.ok]
    known: dict[str, tuple[set[str], set[str]]] = {}
    for each in spelled(text):
        noun = _NOUN.match(text, each.end)
        if noun is None or each.norm in sizes or text.endswith("to ", 0, each.start):  # 'from two to three days'
            continue
        thing = stem(noun[1])
        if thing not in known:
            known[thing] = _given(thing, worked)
        whole, part = known[thing]
        wrong = bool(whole) and each.norm not in whole
        if not wrong and (not part or each.norm in part or knowledge.shown(each.norm, "input", "seen")):
            continue
        if _DIFFERENCE.fullmatch(noun[2] or "") or any(one.start <= each.start < one.end for one in compile_goal(text)):
            continue
        return f"“{text[each.start : noun.end(1)]}”, and the calls were given {', '.join(sorted(whole | part))}"
    return None


def _given(noun: str, calls: Sequence[Call]) -> tuple[set[str], set[str]]:
    """The numbers of arguments that are called so, and of those whose name has this word among others."""
    whole, part = set[str](), set[str]()
    for call in calls:
        for path, value in call.given:
            key = [stem(word) for word in name_words(path[-1])] if path else []
            if noun in key and isinstance(value, int | float) and not isinstance(value, bool):
                (whole if len(key) == 1 else part).update(filter(None, [number(str(value))]))
    return whole, part
