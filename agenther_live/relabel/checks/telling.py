"""A final answer held against the records that the run saw: whose figure it is, in which currency, and as of when.

That a figure stands somewhere in the results is not enough: it must be that of the thing that the sentence names. Each
function gives one sentence about what is wrong, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agenther_live.relabel.checks.claims import sentences
from agenther_live.relabel.checks.counting import table_nouns
from agenther_live.relabel.reading.amounts import read_amount
from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import CURRENCIES, STOPWORDS
from agenther_live.relabel.reading.mentions import (
    Mention,
    content_words,
    figures,
    find_mentions,
    fold,
    number,
    phrases_in,
    stem,
)
from agenther_live.relabel.reading.rows import Table, currency_code, tables

__all__ = ["another_currency", "another_s_figure", "denied", "out_of_date"]

_CLAUSE = re.compile(r";|,? (?:and|while|but|whereas) |, ")
_SIGN = re.compile(r"[$€£]|\b(?:eur|euros?|usd|dollars?|gbp|pounds?|chf)\b", re.IGNORECASE)
_NUMBERING = re.compile(r"^\W*\d{1,3}[.)]\s")
_RATES = frozenset(("percent", "percentage", "pct"))
_NAME = re.compile(r"\d{6,}$")  # of a thing, not a figure of it
_NONE = re.compile(r"\b(?:there (?:is|are|was|were) (?:no|not any)|(?:found|have|has|see) no)\b", re.IGNORECASE)
_PAST = re.compile(
    r"\b(?:was|were|from|old|previous\w*|before|original\w*|earlier|former\w*|instead|changed)\b", re.IGNORECASE
)
_NOW = re.compile(r"\b(?:now|new|remaining|after|current\w*|updated|left|then)\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Record:
    """One record of a result: its short texts, its figures (`rates`: those that are percentages alone), and so on."""

    texts: frozenset[str]
    figures: frozenset[str]
    rates: frozenset[str]
    currencies: frozenset[str]
    call: int


class _Group:
    """A list of records, looked up once for all clauses of an answer."""

    def __init__(self, records: Sequence[_Record]) -> None:
        self.figures = frozenset[str]().union(*(each.figures for each in records))
        self.calls = frozenset(each.call for each in records)
        having: dict[str, list[_Record]] = {}
        for record in records:
            for text in record.texts:
                having.setdefault(text, []).append(record)
        self._own = {text: owners[0] for text, owners in having.items() if len(owners) == 1}

    def named(self, said: str) -> _Record | None:
        """The one record that a folded clause names by a text that no other has."""
        found = {id(self._own[text]): self._own[text] for text in phrases_in(said, self._own)}
        return next(iter(found.values())) if len(found) == 1 else None


def another_s_figure(answer: str, calls: Sequence[Call], free: frozenset[str]) -> str | None:
    """A figure that a clause gives to one thing, and that results show of another of its list alone.

    `free` are figures that need no record: of the goal, of what users said, and counts.
    """
    groups = [_Group(group) for group in _groups(calls) if len(group) > 1]
    given = {norm for call in calls for _, value in call.given for norm in figures(str(value))}
    for clause in _clauses(answer):
        said = fold(clause)
        owners = [(one, group) for group in groups if (one := group.named(said)) is not None]
        for mention in find_mentions(clause) if owners else ():
            norm = mention.norm
            if mention.kind != "number" or _NAME.match(norm) or norm in free or norm in given:
                continue
            if any(norm in one.figures for one, _ in owners) or not any(norm in group.figures for _, group in owners):
                continue
            if not _elsewhere(norm, calls, {number for _, group in owners for number in group.calls}):
                return f"“{clause.strip()[:120]}”, and {mention.text} is said of another"
    return None


def another_currency(text: str, calls: Sequence[Call], told: str) -> str | None:
    """A price in a currency other than that of every record that has the figure, or that is a percentage there.

    What users said (`told`) in that currency is theirs to say.
    """
    known: dict[str, list[_Record]] = {}
    for record in (record for group in _groups(calls) for record in group):
        for norm in record.figures:
            known.setdefault(norm, []).append(record)
    prices = {each: _currency(text, each) for each in find_mentions(text) if each.kind == "number"}
    said = find_mentions(told) if any(prices.values()) else ()  # what users said may be long
    theirs = {(each.norm, _currency(told, each)) for each in said if each.kind == "number"}
    for mention, mine in prices.items():
        if mine is None or (mention.norm, mine) in theirs:
            continue
        having = known.get(mention.norm, [])
        if having and all(mention.norm in record.rates for record in having):
            return f"“{mention.text}” is a percentage in every result"
        if not having or not all(record.currencies and mine not in record.currencies for record in having):
            continue
        if not _elsewhere(mention.norm, calls, {record.call for record in having}):
            shown = next(iter(having[0].currencies)).upper()
            return f"“{mention.text}” is {shown} in every result, not {mine.upper()}"
    return None


def out_of_date(answer: str, calls: Sequence[Call]) -> str | None:
    """A value that was read, then changed by a write of the same thing, and is told as if it still were so."""
    worked = [call for call in calls if call.ok]
    shown, spoken = figures(answer), f" {fold(answer)} "
    last = {call.name: call.at for call in sorted(worked, key=lambda call: call.at)}
    things = {call.number: _things(call) for call in worked}
    for write in (call for call in worked if call.kind == "write"):
        for read in (call for call in worked if call.kind == "read" and call.at < write.at):
            if last[read.name] > write.at or things[read.number].isdisjoint(things[write.number]):
                continue
            for path, old in scalars(read.result) if isinstance(read.result, dict) else ():
                key, new = path[-1] if path else "", write.args.get(path[-1] if path else "")
                was, norm = f" {fold(str(old))} ", number(str(old))
                if isinstance(old, bool) or not was.strip() or was in write.folded:
                    continue
                if (norm not in shown) if norm is not None else (was not in spoken):
                    continue  # told nowhere
                changed = isinstance(new, str | int | float) and fold(str(new)) != fold(str(old))
                named = {stem(part) for part in name_words(key)}
                for clause in _clauses(answer):
                    if (norm not in figures(clause)) if norm is not None else (was not in f" {fold(clause)} "):
                        continue
                    if _PAST.search(clause.replace(str(old), "")) or (changed and _tells(clause, new)):
                        continue
                    counted = (
                        isinstance(old, int | float) and _NOW.search(clause) and named <= set(content_words(clause))
                    )
                    if changed or counted:
                        return f"“{clause.strip()[:120]}” is what {read.name} said before {write.name}"
    return None


def denied(answer: str, calls: Sequence[Call]) -> str | None:
    """A clause that says there is none of a kind ('no tickets with priority high'), where a list has some."""
    clauses = [(each, match) for each in _clauses(answer) if (match := _NONE.search(each))]
    known = [(table.tool, table_nouns(table), _kinds(table)) for table in tables(calls)] if clauses else []
    for clause, match in clauses:
        said = frozenset(content_words(clause[match.end() :]))
        for tool, nouns, kinds in known:
            if said & nouns and any(whole <= said for whole in kinds.get(said - nouns, ())):
                return f"“{clause.strip()[:120]}”, and {tool} shows one"
    return None


def _kinds(table: Table) -> dict[frozenset[str], set[frozenset[str]]]:
    """The words of each short cell and of its column, by what is left of them without those of the rows themselves."""
    nouns, found = table_nouns(table), dict[frozenset[str], set[frozenset[str]]]()
    for row in table.rows:
        for column, cell in row.cells.items():
            value = content_words(cell) if isinstance(cell, str) and len(cell) <= 40 else ()
            if value:
                whole = frozenset((*value, *(stem(part) for part in name_words(column))))
                found.setdefault(whole - nouns, set()).add(whole)
    return found


@lru_cache(maxsize=4)
def _clauses(answer: str) -> tuple[str, ...]:
    bare = (_NUMBERING.sub("", sentence) for sentence in sentences(answer))
    return tuple(part for sentence in bare for part in _CLAUSE.split(sentence) if part.strip())


def _tells(clause: str, value: Any) -> bool:
    norm = number(str(value))
    return norm in figures(clause) if norm is not None else f" {fold(str(value))} " in f" {fold(clause)} "


def _things(call: Call) -> frozenset[str]:
    """What a call is about: two of one thing have an argument in common."""
    return frozenset(fold(str(value)) for value in call.args.values() if isinstance(value, str | int) and value != "")


def _elsewhere(norm: str, calls: Iterable[Call], among: set[int]) -> bool:
    """Whether a result besides those of these calls shows a figure."""
    return any(norm in figures(call.observation or "") for call in calls if call.ok and call.number not in among)


def _groups(calls: Iterable[Call]) -> list[list[_Record]]:
    """The lists of records that results hold; single records of one tool are a list, too."""
    groups: list[list[_Record]] = []
    singles: dict[str, list[_Record]] = {}
    for call in calls:
        if not call.ok or not isinstance(call.result, dict | list):
            continue
        if "records" not in call.cache:
            lists = [[_record(each, call) for each in found] for found in _lists(call.result)]
            whole = _record({**call.args, **call.result}, call) if isinstance(call.result, dict) else None
            call.cache["records"] = lists, whole
        lists, whole = call.cache["records"]
        groups += lists
        if whole is not None and not lists:
            singles.setdefault(call.name, []).append(whole)
    return [*groups, *singles.values()]


def _lists(value: Any) -> Iterator[list[dict[str, Any]]]:
    """Every list of records in a result, the outer ones first."""
    if isinstance(value, list):
        records = [item for item in value if isinstance(item, dict)]
        if records and len(records) == len(value):
            yield records
        for item in value:
            yield from _lists(item)
    elif isinstance(value, dict):
        inner = list(value.items())
        if len(inner) >= 2 and all(isinstance(item, dict) and item for _, item in inner):
            yield [{"": key, **item} for key, item in inner]
        for _, item in inner:
            yield from _lists(item)


def _record(found: dict[str, Any], call: Call) -> _Record:
    texts, shown, rates, currencies = set[str](), set[str](), set[str](), set[str]()
    for path, value in scalars(found):
        parts = name_words(path[-1]) if path else []
        if isinstance(value, bool):
            continue
        if isinstance(value, str):
            if "currency" in parts:
                currencies.add(currency_code(value))
            amount = read_amount(value)
            if amount is not None and amount.kind.startswith("money:"):
                currencies.add(amount.kind.partition(":")[2].partition("/")[0])
            if len(value) <= 80 and len(fold(value)) > 2 and re.search(r"[^\W\d_]", value) and amount is None:
                texts.add(fold(value))
            (rates if value.rstrip().endswith("%") else shown).update(figures(value))
        elif (norm := number(str(value))) is not None:
            (rates if _RATES.intersection(parts) else shown).add(norm)
        currencies |= {currency_code(part) for part in parts if part in CURRENCIES}
    own = frozenset(shown | rates), frozenset(rates - shown), frozenset(currencies)
    return _Record(frozenset(texts - STOPWORDS), *own, call.number)


def _currency(answer: str, mention: Mention) -> str | None:
    """The currency that stands at a number."""
    before, behind = answer[max(0, mention.start - 4) : mention.start + 1], answer[mention.end : mention.end + 9]
    found = _SIGN.search(before) or _SIGN.match(behind.lstrip())
    return currency_code(found.group()) if found else None
