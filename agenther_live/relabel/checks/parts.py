"""A goal for several things, held against the writes that were made: 'A-1 and A-2', 'both', 'all my orders', 'first'.

Each function gives one sentence about what is missing, or None; only what calls and rows prove is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenther_live.relabel.checks.sets import runs_of
from agenther_live.relabel.checks.told import asked_rows
from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import NUMBER_WORDS, STOPWORDS, UNDOING
from agenther_live.relabel.reading.mentions import Mention, content_words, find_mentions, fold, stem, synonyms
from agenther_live.relabel.reading.rows import Row, Selection, tables

__all__ = [
    "another_row",
    "flag_unlike",
    "left_out",
    "out_of_order",
    "overwritten",
    "too_few",
    "turned_round",
    "undone",
    "wanted",
]

_NUMBERS = {word: value for value, word in enumerate(NUMBER_WORDS[:9]) if value >= 2}
_WHOSE = r"(?: (?:the|my|our|her|his|their|these|those))?"
_ALL = re.compile(
    rf"\b(?P<many>both|every|each|all(?: of)?{_WHOSE}(?: (?P<n>{'|'.join(_NUMBERS)}|\d{{1,2}})\b)?)"
    rf"(?: of)?{_WHOSE} (?P<what>[a-z]+(?: [a-z]+){{0,2}})",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"\b(?:before(?: you| it| we)?|(?:and |only )*then)\b", re.IGNORECASE)
_AFTER = re.compile(r"\bafter (?:you|having|we)\b", re.IGNORECASE)
_ENDS = re.compile(r"[.;!?\n]\s")
_MINE = frozenset(map(stem, ("mine", "his", "hers", "ours", "theirs", "please", "now")))
_UNDOING = frozenset(map(stem, UNDOING))
_BUT = re.compile(r"\b(?:not|except|besides?|but|than|instead of|unlike|of|like|as|from)\b[^.;]*$", re.IGNORECASE)
_NO = frozenset(("not", "non", "without", "no", "never", "isn't", "un"))


def left_out(text: str, writes: Sequence[Call]) -> str | None:
    """Of things named in one breath ('A-1 and A-2') one that no write was about, where a write was about another."""
    if not writes:
        return None
    for run, joints in runs_of(text):
        if len(run) < 2 or {"or", "nor"} & set(joints) or any(each.kind == "name" for each in run):
            continue
        missing = [each for each in run if not any(_about(call, each) for call in writes)]
        if missing and len(missing) < len(run):
            return f"no call that worked was about “{missing[0].text}”"
    return None


def too_few(text: str, writes: Sequence[Call], calls: Sequence[Call]) -> str | None:
    """Where a text speaks of both, all three or all of some things, and writes were made for fewer of them."""
    for match in _ALL.finditer(text):
        nouns = [stem(word) for word in match["what"].casefold().split() if word not in STOPWORDS]
        done = _done(nouns, writes)
        if done is None:
            continue
        noun, param, values = done
        meant = _wanted(match, text, noun, param, calls)
        if meant is not None and 0 < len(values) < meant:
            return f"“{match.group().strip()}” are {meant}, and {len(values)} of them were given to calls that worked"
    return None


def _done(nouns: Sequence[str], writes: Sequence[Call]) -> tuple[str, str, set[str]] | None:
    """The noun that writes have a parameter for ('order_id'), the parameter, and the single values it was given."""
    for noun in nouns:
        named = [
            (call, key) for call in writes for key in call.args if noun in {stem(part) for part in name_words(key)}
        ]
        if len({key for _, key in named}) == 1 and all(_names_one(call.args[key], key) for call, key in named):
            return noun, named[0][1], {str(call.args[key]) for call, key in named}
    return None


def _names_one(value: object, key: str) -> bool:
    """Whether an argument names one thing; a number does only where it is an id: 'days: 5' counts."""
    return isinstance(value, str) or (isinstance(value, int) and "id" in name_words(key))


def _wanted(match: re.Match[str], text: str, noun: str, param: str, calls: Sequence[Call]) -> int | None:
    """How many things are meant: as it says, else as many as the one whole list has."""
    if match["many"].casefold().startswith("both"):
        return 2
    if match["n"]:
        return int(match["n"]) if match["n"].isdigit() else _NUMBERS[match["n"].casefold()]
    words = match["what"].split()
    place = next((i for i, word in enumerate(words) if stem(word.casefold()) == noun), None)
    if place is None or (
        match["many"].casefold() in ("every", "each") and stem(words[place]) != words[place].casefold()
    ):
        return None
    end = _ENDS.search(f"{text} ", match.start())
    behind = " ".join(words[place + 1 :]) + " " + text[match.end() : end.start() if end else None]
    reads = [call for call in calls if call.ok and call.kind == "read"]
    lists = [table for table in tables(reads) if table.rows and param in table.rows[0].cells]
    if len(lists) != 1 or not lists[0].complete:
        return None
    listed = {row.call for row in lists[0].rows}
    given = {
        word
        for call in reads
        if call.number in listed
        for key, value in call.args.items()
        for word in (*content_words(str(value)), *map(stem, name_words(key)))
    }
    if set(content_words(behind)) - given - _MINE:
        return None  # a condition, or another wish
    rows: list[Row] = asked_rows(lists[0].rows, " ".join(words[:place]))
    known = {fold(str(cell)) for row in rows for cell in row.cells.values()}
    if any(fold(word) not in known for word in words[:place] if word.casefold() not in STOPWORDS):
        return None  # an adjective that no cell says
    return len({str(row.cells[param]) for row in rows if param in row.cells})


def out_of_order(goal: str, writes: Sequence[Call]) -> str | None:
    """Where a goal wants one deed before another, and the calls were made the other way round."""
    if len(writes) < 2:
        return None
    for pattern, turned in ((_BEFORE, False), (_AFTER, True)):
        for match in pattern.finditer(goal):
            begins = [end.end() for end in _ENDS.finditer(goal, 0, match.start())]
            if match.group().casefold().endswith("then") and begins and not goal[begins[-1] : match.start()].strip():
                begins.pop()  # 'Cancel A-1. Then …'
            behind = _ENDS.search(goal, match.end())
            sides = (
                goal[begins[-1] if begins else 0 : match.start()],
                goal[match.end() : behind.start() if behind else None],
            )
            one, two = (_meant(side, writes) for side in (reversed(sides) if turned else sides))
            if one and two and min(call.at for call in one) > max(call.at for call in two):
                return f"{two[0].name} was made before {one[0].name}, and the goal asks for the other order"
    return None


def _meant(text: str, writes: Sequence[Call]) -> list[Call]:
    """The writes that a part of a goal speaks of: by an id that it names, else by verb and noun of the tool."""
    ids = [each for each in find_mentions(text) if each.kind == "id"]
    stems = {stem(word) for word in re.findall(r"[a-z]+", text.casefold())}
    named = [call for call in writes if {stem(part) for part in name_words(call.name) if not part.isdigit()} <= stems]
    about = [call for call in writes if any(_about(call, each) for each in ids)]
    return ([call for call in about if call in named] or about) if ids else named


def undone(goal: str, writes: Sequence[Call]) -> str | None:
    """A deed that a later call took back ('start_export', then 'cancel_export'), of which a goal is silent."""
    stems = set(content_words(goal))
    for place, call in enumerate(writes):
        verbs = {stem(part) for part in name_words(call.name)} & _UNDOING
        if not verbs or stems & (_UNDOING | synonyms(verbs)):
            continue
        given = {fold(str(value)) for value in call.args.values() if isinstance(value, str | int)} - {""}
        for one in writes[:place]:
            made = {fold(str(value)) for _, value in (*one.given, *scalars(one.result)) if not isinstance(value, bool)}
            if one.name != call.name and given & made:
                return f"{call.name} took back what {one.name} did, and the goal does not ask for that"
    return None


def another_row(goal: str, writes: Sequence[Call], reads: Sequence[Call]) -> str | None:
    """A goal that names one thing of a list by its id, where a write was given another of that list, unnamed."""
    said = {fold(each.norm): each for each in find_mentions(goal) if each.kind in ("id", "number")}
    given = [
        (call, key, value)
        for call in writes
        for key, value in call.args.items()
        if isinstance(value, str | int) and "id" in name_words(key) and fold(str(value)) not in said
    ]
    for table in tables(reads) if said and given else ():
        for column in {name for row in table.rows for name in row.cells}:
            cells = {fold(str(row.cells[column])) for row in table.rows if column in row.cells}
            meant = [said[norm] for norm in said.keys() & cells if not _BUT.search(_led_by(goal, said[norm]))]
            if not any(not _about_any((*writes, *reads), each) for each in meant):
                continue
            for call, key, value in given:
                if fold(str(value)) in cells:
                    return f"{call.name} was given {key}={value}, and the goal says “{meant[0].text}”"
    return None


def _led_by(text: str, mention: Mention) -> str:
    return text[max(0, mention.start - 24) : mention.start]


def _about_any(calls: Sequence[Call], mention: Mention) -> bool:
    return any(_about(call, mention) for call in calls)


def overwritten(goal: str, writes: Sequence[Call]) -> str | None:
    """A value that a goal asks for and a later write of the same tool, about the same thing, replaced by another."""
    asked = f" {fold(goal)} "
    latest: dict[tuple[str, str], tuple[Call, dict[str, str]]] = {}
    for call in reversed(writes):
        given = {key: fold(str(value)) for key, value in call.args.items() if isinstance(value, str | int | float)}
        for key, value in given.items():
            rest = repr(sorted((other, said) for other, said in given.items() if other != key))
            later = latest.setdefault((f"{call.name} {key}", rest), (call, given))[1][key]
            if len(given) > 1 and value != later and f" {value} " in asked and f" {later} " not in asked:
                return f"{call.name} was given {key}={call.args[key]}, and a later call of it replaced that"
    return None


def flag_unlike(goal: str, selections: Sequence[Selection]) -> str | None:
    """A yes or no of what was chosen ('insured: false') that the goal wants otherwise."""
    for selection in selections:
        for column, cell in selection.chosen.cells.items():
            if isinstance(cell, bool) and wanted(column, goal) == (not cell):
                return f"{column} of what was chosen is {str(cell).lower()}"
    return None


def wanted(column: str, goal: str) -> bool | None:
    """Whether a goal wants a yes ('insured') or a no ('not insured') in a column of one word; None: not said."""
    parts = [part for part in name_words(column) if part not in ("is", "has", "can", "allows")]
    if len(parts) != 1 or len(parts[0]) < 4:
        return None
    said = re.findall(r"[\w'’]+", goal.casefold())
    places = [place for place, word in enumerate(said) if stem(word) == stem(parts[0])]
    wants = {not _NO.intersection(said[max(0, place - 2) : place]) for place in places}
    return wants.pop() if len(wants) == 1 else None


def turned_round(goal: str, calls: Sequence[Call]) -> str | None:
    """A call from one thing to another, where the goal says from the other to the one."""
    text = f" {fold(goal)} "
    seen: dict[str, list[bool]] = {}
    for call in calls:
        ends = {
            way: [
                fold(value)
                for key, value in call.args.items()
                if isinstance(value, str) and parts & set(name_words(key))
            ]
            for way, parts in (("from", _FROM), ("to", _TO))
        }
        if call.ok and all(len(each) == 1 for each in ends.values()):
            one, other = _lead(text, ends["from"][0]), _lead(text, ends["to"][0])
            if one and other:
                seen.setdefault(call.name, []).append(one == {"to"} and other == {"from"})
    return next((f"{name} went the other way" for name, turned in seen.items() if all(turned)), None)


def _lead(text: str, value: str) -> set[str]:
    """Which of 'from' and 'to' leads to a value in a folded text, at each place where it stands."""
    found = set[str]()
    for match in re.finditer(f"(?= {re.escape(value)} )", text):
        led = [word for word in text[: match.start()].split()[-3:] if word in ("from", "to", "into", "onto")]
        found.add(("from" if led[-1] == "from" else "to") if led else "")
    return found


_FROM = frozenset(("from", "source", "origin", "sender"))
_TO = frozenset(("to", "target", "destination", "recipient"))


def _about(call: Call, mention: Mention) -> bool:
    """Whether a call was given a thing by name, alone, in a list or in a text."""
    thing = f" {fold(mention.norm)} "
    return any(thing in f" {fold(str(value))} " for _, value in call.given)
