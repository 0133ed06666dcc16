"""Claims that something is the best, or keeps a limit, which rows speak of and yet cannot prove.

Where rows say nothing of a topic the judges decide. Where they do speak of it, and what they say cannot be compared
('4-6 days' and '5 days', EUR and USD, one page of several), nobody can know: such a claim is not taught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from agenther_live.relabel.checks.counting import count_told, table_nouns
from agenther_live.relabel.checks.parts import wanted
from agenther_live.relabel.checks.predicates import Bound, Superlative, holds, limit_of
from agenther_live.relabel.checks.sets import HowMany
from agenther_live.relabel.checks.told import asked_rows, named_rows
from agenther_live.relabel.checks.topics import amount_for, rank_for, unread
from agenther_live.relabel.reading.amounts import Amount, compare
from agenther_live.relabel.reading.calls import Call
from agenther_live.relabel.reading.mentions import find_mentions, fold, stem
from agenther_live.relabel.reading.rows import Row, Selection, Table, tables

__all__ = [
    "answer_breaks",
    "answer_untold",
    "answers_worse",
    "count_untold",
    "limit_untold",
    "narrowed",
    "superlative_untold",
]

_DENYING = re.compile(r"\b(?:no|not|none|neither|nor|only|but|however|unfortunately)\b|n['’]t\b", re.IGNORECASE)
_SORTING = frozenset(("sort", "sort_by", "order", "order_by", "orderby", "ranking"))


def limit_untold(bound: Bound, rows: Iterable[Row]) -> str | None:
    """What the rows that were chosen say of a limit, where it can be neither kept nor broken by that; None: nothing."""
    for row in rows:
        found = amount_for(row, bound.topic, unit=bound.unit)
        if found is not None and holds(bound, row) is None and limit_of(bound) is not None and found.kind:
            return f"what was chosen has {_shown(found)}"
        if found is None and (text := unread(row, bound.topic)) is not None:
            return f"what was chosen has “{text[:60]}”"
    return None


def narrowed(selection: Selection, goal: str) -> Selection:
    """A choice among the rows that a goal speaks of: those that have the words and flags of the chosen one it says."""
    asked, chosen, peers = f" {fold(goal)} ", selection.chosen, list(selection.peers)
    for column, cell in chosen.cells.items():
        if isinstance(cell, str) and column != selection.param and f" {fold(cell)} " in asked and fold(cell):
            said = {
                text for row in peers if isinstance(text := row.cells.get(column), str) and f" {fold(text)} " in asked
            }
            peers = [row for row in peers if row.cells.get(column) in said]
        elif isinstance(cell, bool) and wanted(column, goal) == cell:
            peers = [row for row in peers if row.cells.get(column) == cell]
    return selection if len(peers) == len(selection.peers) else replace(selection, peers=tuple(peers))


def count_untold(asked: HowMany, answer: str, calls: Sequence[Call]) -> str | None:
    """Why the number that an answer gives is not how many there are: it counts one page of a list that goes on."""
    for table in tables(call for call in calls if call.ok):
        nouns = table_nouns(table)
        fits = nouns & {stem(word) for word in asked.nouns}
        if fits and not table.complete and count_told(answer, len(table.rows), nouns):
            return "the tool says that there are more"
    return None


def superlative_untold(
    each: Superlative, selections: Iterable[Selection], limits: Sequence[Bound], calls: Sequence[Call]
) -> str | None:
    """Why what was chosen cannot be called the best, of rows that speak of it; None where they do not."""
    if each.topic == "other" and not each.noun:
        return None
    for selection in selections:
        rivals = [row for row in selection.peers if all(holds(limit, row) is not False for limit in limits)]
        why = _incomparable(each, selection.chosen, rivals)
        if why is None and len(rivals) > 1 and _speaks(each, selection.chosen):
            numbers = {row.call for row in rivals}
            if not selection.complete and not _sorted(calls, numbers):
                why = "the tool says that there are more"
            elif selection.open:
                why = f"nobody asked about “{str(selection.open[0])[:60]}”"
        if why is not None:
            return why
    return next((f"the result of {call.name} ends in the middle" for call in calls if _cut(call)), None)


def answer_untold(
    each: Superlative, goal: str, answer: str, calls: Sequence[Call], limits: Sequence[Bound]
) -> str | None:
    """Why the one thing that an answer names cannot be called the best; None where no rows speak of it."""
    for table, named, rivals in _answered(each, goal, answer, calls, limits):
        why = _incomparable(each, named, rivals) if named is not None else None
        if why is None and not table.complete and not _sorted(calls, {row.call for row in table.rows}):
            why = "the tool says that there are more"
        if why is not None:
            return why
    return next((f"the result of {call.name} ends in the middle" for call in calls if _cut(call)), None)


def answer_breaks(bound: Bound, answer: str, calls: Sequence[Call]) -> bool:
    """Whether an answer names just one row of what was listed, and that row breaks a limit of the goal.

    An answer with a 'no' in it may say just that, and asks for judges.
    """
    if _DENYING.search(answer):
        return False
    listed = [table for table in tables(call for call in calls if call.kind == "read") if len(table.rows) > 1]
    named = [rows[0] for table in listed if len(rows := named_rows(table.rows, answer)) == 1]
    return any(holds(bound, row) is False for row in named)


def answers_worse(each: Superlative, goal: str, answer: str, calls: Sequence[Call], limits: Sequence[Bound]) -> bool:
    """Whether the answer to "which is the cheapest?" names just one row, or its figure, and the run saw a better one.

    So it is, too, where that row breaks a limit of the goal, or a flag of it says otherwise than the goal.

    A word or a flag of the goal that a column knows ("the cheapest delivered order", "the cheapest refundable fare")
    leaves the other rows of that column out. That a row is the best is not proven by this: there may be others that
    nobody saw. Where the rows speak of it and cannot be compared, `answer_untold` says so.
    """
    for _, named, rivals in _answered(each, goal, answer, calls, limits):
        if named is not None and not _competes(named, goal, limits):
            return True
        mine = rank_for(named, each.topic, noun=each.noun) if named is not None else None
        if mine is None or named not in rivals:
            continue
        others = [rank_for(row, each.topic, noun=each.noun) for row in rivals]
        if any(other is not None and compare(other, mine) == (1 if each.most else -1) for other in others):
            return True
    return False


def _answered(
    each: Superlative, goal: str, answer: str, calls: Sequence[Call], limits: Sequence[Bound]
) -> Iterable[tuple[Table, Row | None, list[Row]]]:
    """The tables of looks that speak of the topic, with the one row that the answer names, and those that compete."""
    if each.topic == "other" and not each.noun:
        return
    told = {mention.norm for mention in find_mentions(answer) if mention.kind == "number"}
    for table in tables(call for call in calls if call.kind == "read"):
        if len(table.rows) < 2 or not any(_speaks(each, row) for row in table.rows):
            continue
        rivals = [row for row in asked_rows(table.rows, goal) if _competes(row, goal, limits)]
        named = named_rows(table.rows, answer) or [
            row
            for row in rivals
            if (found := rank_for(row, each.topic, noun=each.noun)) is not None
            and found.exact
            and f"{found.low:g}" in told
        ]
        yield table, named[0] if len(named) == 1 else None, rivals


def _competes(row: Row, goal: str, limits: Sequence[Bound]) -> bool:
    """Whether a row breaks no limit of a goal, and no flag of it says otherwise than the goal does."""
    return all(holds(limit, row) is not False for limit in limits) and not any(
        isinstance(cell, bool) and wanted(name, goal) == (not cell) for name, cell in row.cells.items()
    )


def _incomparable(each: Superlative, mine: Row, rivals: Sequence[Row]) -> str | None:
    """What keeps one row from being held against the others, of rows that speak of the topic at all."""
    own = rank_for(mine, each.topic, noun=each.noun)
    if own is None:
        text = unread(mine, each.topic, noun=each.noun)
        return None if text is None else f"“{text[:60]}” is no figure"
    for row in rivals:
        other = rank_for(row, each.topic, noun=each.noun)
        if other is None:
            text = unread(row, each.topic, noun=each.noun)
            return "not every row says it" if text is None else f"“{text[:60]}” is no figure"
        if compare(other, own) is None:
            return f"{_shown(other)} and {_shown(own)} cannot be compared"
    return None


def _speaks(each: Superlative, row: Row) -> bool:
    return rank_for(row, each.topic, noun=each.noun) is not None or (
        unread(row, each.topic, noun=each.noun) is not None
    )


def _sorted(calls: Sequence[Call], numbers: set[int]) -> bool:
    """Whether the tool was asked to sort what it gave: then the first page has the best."""
    return any(call.number in numbers and _SORTING & {key.casefold() for key in call.args} for call in calls)


def _cut(call: Call) -> bool:
    """Whether a result begins like a record and ends in the middle of it."""
    text = (call.observation or "").strip()
    return call.ok and call.result is None and text[:2] in ('{"', "[{", '["', "{'") and text[-1] not in "]}"


def _shown(amount: Amount) -> str:
    return f"{amount.low:g}{'' if amount.exact else f' to {amount.high:g}'} {amount.kind}".strip()
