"""Requirements of a goal that a machine can evaluate: limits, superlatives, counts and sets, compiled from its words.

"for at most 900 EUR in total, within 6 days, from the cheapest supplier" becomes two bounds and a superlative; each is
held against the row that the run chose. True and False are proofs; None means that rows cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from agenther_live.relabel.checks.sets import HowMany, OneOf, how_many, one_of
from agenther_live.relabel.checks.topics import Topic, amount_for, rank_for, value_for
from agenther_live.relabel.reading.amounts import Amount, compare, unit_of
from agenther_live.relabel.reading.mentions import number
from agenther_live.relabel.reading.rows import Row, Selection, currency_code, currency_of

__all__ = [
    "Bound",
    "Count",
    "Predicate",
    "Superlative",
    "compile_goal",
    "holds",
    "is_best",
    "limit_of",
    "phrase_start",
    "value_for",
]


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit: `value` and what it limits; `start` and `end` are where it stands, `at` is where its number stands."""

    sign: Literal["<=", ">=", "<", ">"]
    value: float
    topic: Topic
    unit: str
    start: int
    end: int
    at: int
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Superlative:
    """The best row by one topic ("the cheapest"); `most` is true for largest, latest, highest."""

    topic: Topic
    most: bool
    noun: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Count:
    """So many different things must have been seen ("at least 3 suppliers")."""

    value: int
    noun: str
    start: int
    end: int
    at: int


Predicate = Bound | Superlative | Count | HowMany | OneOf

_NUM = r"(?P<cur>[$€£]|EUR |USD |GBP |CHF )?(?P<num>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?P<k>k\b)?"
_AFTER = r"(?P<unit>(?:\s?(?:[$€£%]|[A-Za-z]+(?:-[A-Za-z]+)?)){0,4})"
_LESS = (
    r"at most|at no more than|no more than|not more than|not exceeding|not to exceed|up to|under|below|"
    r"less than|cheaper than|"
    r"lower than|fewer than|(?:a |the )?(?:maximum|max)\.?(?: total| price| budget| cost)?(?: of)?|"
    r"(?:with |on |within )?(?:a |my |our )?budget of|"
    r"(?:a )?limit of|no later than|within|in under|spending (?:at most|no more than|up to)|capped at"
)
_MORE = (
    r"at least|no less than|no fewer than|not less than|(?:a |the )?(?:minimum|min)\.?(?: of)?|more than|over|above|"
    r"greater than|higher than|better than"
)
_BEFORE = re.compile(rf"\b(?P<op>(?P<less>{_LESS})|(?P<more>{_MORE}))\s+(?:of\s+)?{_NUM}{_AFTER}", re.IGNORECASE)
_BEHIND = re.compile(  # a number begins at its first digit and a unit's word ends at its last letter: no cubic search
    rf"(?<!\d){_NUM}(?P<unit>(?:\s?(?:[$€£%]|[A-Za-z]+(?![A-Za-z]))){{0,3}}?),?\s+"
    r"(?P<op>(?P<less>or less|or fewer|or under|or below|at most|max(?:imum)?|or sooner|or cheaper)|"
    r"(?P<more>or more|or higher|or above|at least|minimum))\b",
    re.IGNORECASE,
)
_STRICT = frozenset(
    (
        "under",
        "below",
        "less than",
        "cheaper than",
        "lower than",
        "fewer than",
        "more than",
        "over",
        "above",
        "greater than",
        "higher than",
        "better than",
    )
)
_CURRENCY = r"\s?(?:[$€£]|EUR|USD|GBP|CHF|euros?|dollars?)?"
_EACH = re.compile(r"\b(?:each|apiece|a piece|per (?:piece|unit|item|pc|night|person|head|kg))\b", re.IGNORECASE)
_MONEY = re.compile(r"[$€£]|\b(?:eur|euros?|usd|dollars?|gbp|pounds?|chf|bucks)\b", re.IGNORECASE)
_TIME = re.compile(r"\b(?:(?:business |working )?days?|hours?|hrs?|minutes?|mins?|weeks?)\b", re.IGNORECASE)
_RATING = re.compile(r"\b(?:stars?|rating|score)\b", re.IGNORECASE)
_DISTANCE = re.compile(r"\b(?:km|kilometers?|kilometres?|miles?)\b", re.IGNORECASE)
_SUPERLATIVE = re.compile(
    r"\b(?:(?P<cheap>cheapest|least expensive|most affordable|most economical|best[- ]priced|"
    r"(?:lowest|best|smallest|minimum)[- ](?:possible |overall |total |unit )*"
    r"(?:price|cost|total|fare|fee|quote|offer)s?|"
    r"lowest[- ]priced|lowest[- ]cost)"
    r"|(?P<fast>fastest|quickest|soonest|(?:shortest|lowest) (?:delivery|lead|shipping|travel)?\s?"
    r"(?:time|days|duration))"
    r"|(?P<rated>(?:highest|best|top)[- ]rated|(?:highest|best) rating)"
    r"|(?P<dear>most expensive|(?:highest|largest) (?:total |unit )?(?:price|cost|total))"
    r"|(?P<near>nearest|closest)"
    r"|(?P<dated>most recent|latest|newest|oldest|earliest)(?:\s+(?P<when>[a-z]+))?"
    r"|(?P<any>lowest|smallest|shortest|fewest|least|highest|largest|biggest|longest|greatest|"
    r"best|most|maximum|minimum|max|min)(?:\s+(?P<noun>[a-z]+(?: [a-z]+)?))?)",
    re.IGNORECASE,
)
_LOW_WORDS = frozenset(["lowest", "smallest", "shortest", "fewest", "least", "minimum", "min"])


@lru_cache(maxsize=4096)
def compile_goal(goal: str) -> tuple[Predicate, ...]:
    """All requirements of a goal that can be compiled, in the order of the text."""
    found: list[Predicate] = [*how_many(goal), *one_of(goal)]
    taken = bytearray(len(goal))  # 1 where a bound or count stands: asked by place, however many there are
    for pattern in (_BEFORE, _BEHIND):
        for match in pattern.finditer(goal):
            if any(taken[match.start("num") : match.end("num")]):
                continue
            found.append(_bound(goal, match))
            taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    for match in _SUPERLATIVE.finditer(goal):
        if taken[match.start()]:
            continue  # "at most", "minimum of 3"
        if match["dated"] and goal[: match.start()].casefold().endswith("at the "):
            continue  # "by Friday at the latest"
        before = goal[max(0, match.start() - 3) : match.start()].casefold()
        if match["any"] and (
            before == "at " or (match["any"].casefold() in ("max", "min", "most") and not match["noun"])
        ):
            continue
        found.append(_superlative(match))
    return tuple(sorted(found, key=lambda each: each.start))


_CARRIED = re.compile(r"\b(?:for|paying|spending|arriving in|arriving|costing|priced at|at|with|on)\s+$", re.IGNORECASE)


def phrase_start(goal: str, each: Predicate) -> int:
    """Where the phrase of a requirement begins, with the word that leads to it ('paying at most …')."""
    before = _CARRIED.search(goal[: each.start])
    return before.start() if before else each.start


def _bound(goal: str, match: re.Match[str]) -> Bound | Count:
    text = number(match["num"]) or "0"
    value = float(text) * (1000 if match["k"] else 1)
    unit = match["unit"].strip()
    window = f"{match['cur'] or ''} {unit}"
    less = match["less"] is not None
    operator = match["op"].casefold()
    strict = operator in _STRICT
    sign: Literal["<=", ">=", "<", ">"] = ("<" if strict else "<=") if less else (">" if strict else ">=")
    tail = goal[match.end("num") : match.end("num") + 40].split(",")[0].split(".")[0]
    context = goal[max(0, match.start() - 24) : match.start()].casefold()
    priced = (
        bool(re.search(r"\b(?:price|cost|budget|spend|pay|paying)\w*\W*(?:is |be |of |at )?$", context))
        or "budget" in operator
    )
    topic: Topic = "other"
    if _MONEY.search(window) or (priced and not _TIME.search(unit)):
        topic = "unit_price" if _EACH.search(tail) or re.search(r"\b(?:unit price|each)\b", context) else "price"
    elif _TIME.search(unit):
        topic = "time"
    elif _RATING.search(unit) or re.search(r"\brat(?:ing|ed)\W*(?:of )?$", context):
        topic = "rating"
    elif _DISTANCE.search(unit):
        topic = "distance"
    if topic == "other" and sign in (">=", ">") and value == int(value) and unit:
        noun = unit.split()[0]
        return Count(
            int(value) + (1 if strict else 0),
            noun.casefold(),
            match.start(),
            match.end("num") + 1 + len(noun),
            match.start("num"),
        )
    end = match.end("num") + _unit_length(match, topic, tail)
    return Bound(
        sign,
        value,
        topic,
        unit.split()[0].casefold() if unit else "",
        match.start(),
        max(end, match.end("op")),
        match.start("num"),
        currency_code(money.group()) if (money := _MONEY.search(window)) else "",
    )


def _unit_length(match: re.Match[str], topic: Topic, tail: str) -> int:
    """How much of the text behind the number belongs to the limit."""
    pattern = {
        "price": _CURRENCY + r"(?: in total| total| including shipping| overall| altogether)?",
        "unit_price": _CURRENCY + r"(?: each| apiece| a piece| per (?:piece|unit|item|pc|night|person|head|kg))?",
        "time": r"\s?(?:business |working )?(?:days?|hours?|hrs?|minutes?|mins?|weeks?)(?: from now)?",
    }.get(topic, r"\s?[A-Za-z%]*")
    found = re.match(pattern, tail, re.IGNORECASE)
    return found.end() if found else 0


def _superlative(match: re.Match[str]) -> Superlative:
    text = match.group().casefold()
    unit = bool(re.search(r"\bunit\b", text))
    if match["cheap"]:
        return Superlative("unit_price" if unit else "price", False, "", match.start(), match.end())
    if match["dear"]:
        return Superlative("unit_price" if unit else "price", True, "", match.start(), match.end())
    if match["fast"]:
        return Superlative("time", False, "", match.start(), match.end())
    if match["rated"]:
        return Superlative("rating", True, "", match.start(), match.end())
    if match["near"]:
        return Superlative("distance", False, "", match.start(), match.end())
    if match["dated"]:
        first = match["dated"].casefold() in ("oldest", "earliest")
        return Superlative("date", not first, (match["when"] or "").casefold(), match.start(), match.end("dated"))
    word = match["any"].casefold()
    noun = (match["noun"] or "").casefold()
    return Superlative("other", word not in _LOW_WORDS, noun, match.start(), match.end("any"))


def holds(bound: Bound, row: Row) -> bool | None:
    """Whether a row keeps a limit; None where no cell of the row is what the limit is about, or in another currency.

    A range keeps a limit where all of it does, and breaks it where none of it does.
    """
    cell, limit = amount_for(row, bound.topic, unit=bound.unit), limit_of(bound)
    if cell is None or limit is None:
        return None
    if cell.kind.partition("/")[0] in ("", "star") and bound.topic in ("rating", "distance", "other"):
        cell = Amount(cell.low, cell.high, limit.kind)
    sides = (
        compare(Amount(cell.low, cell.low, cell.kind), limit),
        compare(Amount(cell.high, cell.high, cell.kind), limit),
    )
    kept = [None if side is None else side in _KEEPS[bound.sign] for side in sides]
    return kept[0] if kept[0] == kept[1] else None


_KEEPS = {"<=": (-1, 0), ">=": (0, 1), "<": (-1,), ">": (1,)}


def limit_of(bound: Bound) -> Amount | None:
    """A limit as an amount; None where its unit is not known."""
    if bound.topic in ("price", "unit_price"):
        return Amount(bound.value, bound.value, f"money:{bound.currency}" if bound.currency else "money")
    if bound.topic == "time" and bound.unit in ("business", "working"):
        return Amount(bound.value, bound.value, "workday")
    kind, factor = (unit_of(bound.unit) or (None, 1.0)) if bound.topic in ("time", "distance") else ("", 1.0)
    return None if kind is None else Amount(bound.value * factor, bound.value * factor, kind)


def is_best(superlative: Superlative, selection: Selection, bounds: Iterable[Bound] = ()) -> bool | None:
    """Whether what was chosen is the best of all that was seen; None where too little was seen to say so.

    Rows that break one of the goal's own limits are no competition.
    """
    mine = rank_for(selection.chosen, superlative.topic, noun=superlative.noun)
    if mine is None:
        return None
    rivals = [row for row in selection.peers if all(holds(bound, row) is not False for bound in bounds)]
    amounts = [rank_for(row, superlative.topic, noun=superlative.noun) for row in rivals]
    sides = [None if each is None else compare(each, mine) for each in amounts]
    if (1 if superlative.most else -1) in sides:
        return False
    if superlative.topic in ("price", "unit_price") and len({currency_of(row) for row in rivals} - {None}) > 1:
        return None
    if None in sides or not selection.proven or len(sides) < 2:
        return True if len(sides) == 1 and None not in sides and selection.proven else None
    return True
