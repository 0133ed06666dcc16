"""Composed goals for runs that only looked: questions, answered from what came back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenther_live.relabel.checks.predicates import Bound, compile_goal, holds, phrase_start
from agenther_live.relabel.models import Case, Proposal, Refused
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.mentions import content_words, fold
from agenther_live.relabel.reading.rows import Row, headline, select, tables
from agenther_live.relabel.templates.composing import (
    Ask,
    more_is_better,
    own_row,
    proposal_of,
    split_arguments,
    superlative_text,
)
from agenther_live.relabel.templates.wording import (
    amount,
    column_text,
    duty,
    human,
    listing,
    phrase,
    plural,
    verb_and_noun,
)

__all__ = ["questions"]

_MARKUP = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)
_NOTES = frozenset(("comment", "comments", "instruction", "instructions", "memo", "note", "notes", "remark", "remarks"))
_ANY_ROWS = frozenset(("results", "data", "items", "records", "rows", "entries", "list", "values", "content"))


def questions(case: Case, knowledge: Knowledge, worked: Sequence[Call]) -> list[Proposal]:
    """The questions that these calls answer, the best first.

    Raises:
        Refused: with the reason where there is none.
    """
    last = worked[-1]
    group = [call for call in worked if call.name == last.name]
    distinct = list({call.signature: call for call in group}.values())
    splits = [split_arguments(knowledge, call) for call in distinct]
    picked = {tuple(sorted(names)) for _, names in splits}
    goals: list[Proposal] = []
    said = verb_and_noun(last.name)
    if said is None or said[1].endswith(" id"):
        raise Refused("no_goal", f"the name of {last.name} gives no request that a user would make")
    if last.is_text:
        return [_look_up(case, knowledge, worked)]
    if picked == {()}:
        told = [args for args, _ in splits]
        number = _how_many(case, distinct[0], told[0]) if len(distinct) == 1 else None
        try:
            goals.append(_plain(case, distinct, told))
        except Refused:
            if number is None:
                raise
        if number is not None:  # first where the user wanted a number, too
            goals.insert(0 if "how many" in case.trajectory.goal.casefold() else len(goals), number)
    elif len(picked) == 1 and len(next(iter(picked))) == 1 and len({str(args) for args, _ in splits}) == 1:
        param = next(iter(picked))[0]
        args = {**_from_lists(knowledge, worked, distinct, param), **splits[0][0]}
        goals += _iterated(case, worked, distinct, args, param)
    else:
        raise Refused("check:leak", f"the arguments of {last.name} were revealed by results")
    kept = {call.number for call in worked if call.at < goals[0].end}
    if len(kept) * 2 < len([call for call in case.view.calls if call.ok]):
        raise Refused("complexity", "the goal would cover less than half of what the run did")
    return goals


def _from_lists(knowledge: Knowledge, worked: Sequence[Call], calls: Sequence[Call], param: str) -> dict[str, object]:
    """What the agent asked the tool that named the things: the request must say it too."""
    values = [fold(str(call.args[param])) for call in calls]
    told: dict[str, object] = {}
    for call in worked:
        if (
            call.at < calls[0].at
            and call.name != calls[0].name
            and any(value in fold(call.observation or "") for value in values)
        ):
            told |= {key: value for key, value in split_arguments(knowledge, call)[0].items() if key != param}
    return told


def _iterated(
    case: Case, worked: Sequence[Call], calls: Sequence[Call], told: dict[str, object], param: str
) -> list[Proposal]:
    """The same question put to several things that an earlier result had named."""
    said = verb_and_noun(calls[0].name)
    assert said is not None
    noun = said[1] or "result"
    thing = human(param).removesuffix(" name").removesuffix(" id")
    rows = {call.number: row for call in calls if (row := own_row(call)) is not None}
    if len(rows) < len(calls):
        raise Refused("no_goal", f"the results of {calls[0].name} are no single records")
    columns = headline(list(rows.values()))
    around = phrase(calls[0].name, told)
    goals: list[Proposal] = []
    if len(calls) > 1 and columns:
        column = columns[0]
        pick = max if more_is_better(column) else min
        best = pick(calls, key=lambda call: float(rows[call.number].cells[column]))
        selection = select(best, param, worked)
        if selection is not None and selection.proven and len(selection.peers) > 1:
            goals.append(_best(case, calls, rows, best, param, (noun, thing, around, column)))
    counted = f"{plural(noun)} from at least {len(calls)} {plural(thing)}" if len(calls) > 1 else f"a {noun}"
    lines = [_line(str(call.args[param]), rows[call.number], columns, call) for call in calls]
    ask = Ask(f"get {counted} {around}".strip(), list(calls), "Here is what I found. " + " ".join(lines), 0.6)
    goals.append(proposal_of(case, ask.infinitive, [ask], end_call=calls[-1]))
    return goals


def _best(
    case: Case, calls: Sequence[Call], rows: dict[int, Row], best: Call, param: str, words: tuple[str, str, str, str]
) -> Proposal:
    noun, thing, around, column = words
    row = rows[best.number]
    others = [call for call in calls if call is not best]
    infinitive = f"get {plural(noun)} {around} and tell me which {thing} has {superlative_text(column)}"
    answer = f"{best.args[param]} has {superlative_text(column)}: {amount(column, row.cells[column], row.cells)}."
    rest = [
        f"{call.args[param]}: {amount(column, rows[call.number].cells[column], rows[call.number].cells)}"
        for call in others
    ]
    answer += f" The others are {listing(rest)}."
    return proposal_of(
        case, infinitive, [Ask(infinitive, list(calls), answer, 0.75)], end_call=max(calls, key=lambda c: c.number)
    )


def _line(name: str, row: Row, columns: Sequence[str], call: Call) -> str:
    shown = list(columns) or [column for column in row.cells if column not in call.args and column != "currency"]
    facts = [
        f"{column_text(column)} {amount(column, row.cells[column], row.cells)}"
        for column in shown[:5]
        if column in row.cells
    ]
    return f"{name}: {', '.join(facts)}."


def _plain(case: Case, calls: Sequence[Call], told: Sequence[dict[str, object]]) -> Proposal:
    """Questions whose arguments the agent knew by itself."""
    if len(calls) > 4:
        raise Refused("no_goal", "too many equal questions for one plain request")
    asks = []
    for call, args in zip(calls, told, strict=True):
        infinitive = duty(call.name, args)
        assert infinitive is not None
        asks.append(Ask(infinitive, [call], _facts(call), 0.6))
    said = verb_and_noun(calls[0].name)
    assert said is not None
    head = " ".join(part for part in (said[0], f"the {said[1]}" if said[1] else "") if part)
    rest = [phrase(call.name, args) for call, args in zip(calls, told, strict=True)]
    return proposal_of(
        case, f"{head} {listing([part for part in rest if part] or [''])}".strip(), asks, end_call=calls[-1]
    )


def _how_many(case: Case, call: Call, told: dict[str, object]) -> Proposal | None:
    """How many there are of what a call listed, within those limits of the user's that every row answers.

    None where the result is no single list, or not all of it.
    """
    found = tables([call])
    said = verb_and_noun(call.name)
    if said is None or len(found) != 1 or not found[0].complete or len(found[0].rows) < 2:
        return None
    rows: Sequence[Row] = found[0].rows
    key = human(found[0].path.rpartition("/")[2])
    noun = plural(said[1] if not key or key in _ANY_ROWS else key)
    if not noun.strip() or len(noun.split()) > 3:
        return None
    goal = case.trajectory.goal[:4000]
    words = []
    for bound in (each for each in compile_goal(goal) if isinstance(each, Bound)):
        kept = [row for row in rows if holds(bound, row)]
        if kept and None not in [holds(bound, row) for row in rows]:
            rows = kept
            words.append(goal[phrase_start(goal, bound) : bound.end].strip(" ,.;"))
    around = " ".join(part for part in (phrase(call.name, told), *words) if part)
    infinitive = f"tell me how many {noun} there are {around}".strip()
    answer = f"There {'is' if len(rows) == 1 else 'are'} {len(rows)} {noun} {around}".strip() + "."
    return proposal_of(case, infinitive, [Ask(infinitive, [call], answer, 0.6)], end_call=call)


def _facts(call: Call) -> str:
    """What a result says, as sentences. Refuses what is too long or too nested to be said plainly."""
    about = phrase(call.name, {k: v for k, v in call.args.items() if isinstance(v, str | int | float)})
    found = tables([call])
    rows = [row for table in found for row in table.rows]
    if _MARKUP.search(call.observation or ""):
        raise Refused("no_goal", f"the result of {call.name} is a page, and no answer to be said plainly")
    if not rows:
        text = (call.observation or "").strip()
        if call.result is None and 0 < len(text) <= 300 and "\n" not in text:
            return f"The result {about} is: {text.rstrip('.')}."
        raise Refused("no_goal", f"the result of {call.name} cannot be said plainly")
    if len(rows) == 1:
        cells = {
            key: value
            for key, value in rows[0].cells.items()
            if key not in call.args and not isinstance(value, bool) and not _aside(key, value)
        }
        if not 0 < len(cells) <= 12:
            raise Refused("no_goal", f"the result of {call.name} has too many fields to be said plainly")
        facts = [f"{column_text(key)} {amount(key, value, cells)}" for key, value in cells.items() if key != "currency"]
        return f"Here is what I found {about}: {'; '.join(facts)}."
    if not all(table.complete for table in found):
        raise Refused("no_goal", f"{call.name} has more than it gave")
    if len(found) > 1 or len(rows) > 12:
        raise Refused("no_goal", f"the result of {call.name} has too many rows to be said plainly")
    lines = []
    for row in rows:
        cells = {
            key: value
            for key, value in row.cells.items()
            if key not in call.args and not isinstance(value, bool) and not _aside(key, value)
        }
        name = next((str(value) for value in cells.values() if isinstance(value, str)), None)
        if name is None:
            raise Refused("no_goal", f"the rows of {call.name} have no names")
        facts = [
            f"{column_text(key)} {amount(key, value, cells)}"
            for key, value in list(cells.items())[:5]
            if value != name and key != "currency"
        ]
        lines.append(f"{name} ({', '.join(facts)})" if facts else name)
    return f"I found {len(rows)} {about}: {'; '.join(lines)}." if about else f"I found {len(rows)}: {'; '.join(lines)}."


def _aside(key: str, value: object) -> bool:
    """Whether a cell is somebody's note beside the record: whom it speaks to nobody knows ('tell the user that …')."""
    return bool(_NOTES.intersection(name_words(key))) and isinstance(value, str) and len(value.split()) > 3


def _look_up(case: Case, knowledge: Knowledge, worked: Sequence[Call]) -> Proposal:
    """Text agents that search by name: 'tell me about X', answered with the first sentence of what came back."""
    asks: list[Ask] = []
    for call in worked:
        value = str(call.args.get("input", "")).strip()
        sentence = _first_sentence(call.observation or "")
        first = knowledge.first(value) if value else None
        if (
            call.name.casefold() not in ("search", "wikipedia", "wiki", "wikipedia_search")
            or not value
            or sentence is None
        ):
            break
        if first is not None and first[1] == "seen" and first[0] < call.at:
            break  # the second hop: the goal would hand over the answer of the first
        wanted = content_words(value)
        if (
            not wanted
            or not value[0].isupper()
            or not set(wanted) <= set(content_words(sentence))
            or len(wanted) > 5
            or value.endswith("?")
        ):
            break
        asks.append(Ask(f"tell me about {value}", [call], sentence, 0.55))
    if not asks or len(asks) * 2 < len([call for call in case.view.calls if call.ok]):
        raise Refused("no_goal", "no plain question is answered by what the searches brought back")
    names = listing([ask.infinitive.removeprefix("tell me about ") for ask in asks])
    return proposal_of(case, f"tell me about {names}", asks, end_call=asks[-1].calls[-1])


def _first_sentence(text: str) -> str | None:
    """The first sentence of prose; None where the text does not begin with one."""
    body = text.strip()
    end = next(
        (
            i + 1
            for i, c in enumerate(body[:600])
            if c == "." and body[i + 1 : i + 2] in (" ", "") and _closes(body[:i])
        ),
        None,
    )
    if end is None:
        return None
    sentence = body[:end].strip()
    plain = len(sentence.split()) >= 6 and sentence[0].isalpha() and "\n" not in sentence and "..." not in sentence
    return sentence if plain and not any(mark in sentence for mark in "[]{}<>|") else None


def _closes(before: str) -> bool:
    """Whether a dot after this text ends a sentence (no initial, no abbreviation, no open bracket)."""
    last = before.rsplit(" ", 1)[-1]
    return before.count("(") == before.count(")") and len(last) > 3 and last[:1] not in "(" and "." not in last
