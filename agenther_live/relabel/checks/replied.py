"""What an answer says of all, of none, or by a yes or no, against the results that it was given from.

Each function gives one sentence about what is wrong, or None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenther_live.relabel.checks.claims import sentences
from agenther_live.relabel.checks.parts import wanted
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.lexicon import STATES
from agenther_live.relabel.reading.mentions import content_words, stem, words
from agenther_live.relabel.reading.pages import says_more
from agenther_live.relabel.reading.rows import Row, tables

__all__ = ["beyond_the_page", "unlike_the_record"]

_ALL = re.compile(
    r"\b(?:only|all|every|none|nothing|there (?:is|are|was|were) (?:no|not any)|(?:found|have|has|see) no)\b",
    re.IGNORECASE,
)
_SO_FAR = re.compile(
    r"\b(?:page|first|shown|so far|truncated|more|at least|among|recent|latest|listed|results?|not all)\b",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"(?:\.\.\.|…)\W*(?:the )?(?:output |results? )?truncated|[\[(<](?:output |results? |response )?truncated"
    r"|\b\d+ more (?:lines?|rows?|results?|items?|entries|matches)\b",
    re.IGNORECASE,
)


def beyond_the_page(answer: str, goal: str, calls: Sequence[Call]) -> str | None:
    """A sentence about all, none or the only one of what a tool listed, where its last list went on or was cut."""
    looks = {call.name: call for call in calls if call.ok and call.kind == "read"}
    open_ended = [call for call in looks.values() if _goes_on(call)]
    asked = set(content_words(goal)) if open_ended else set()
    for sentence in sentences(answer) if open_ended else ():
        if not _ALL.search(sentence) or _SO_FAR.search(sentence):
            continue
        about = set(content_words(sentence)) | asked
        for call in open_ended:
            if {stem(part) for part in name_words(call.name)[1:]} & about:
                return f"“{sentence[:120]}”, and {call.name} did not show all"
    return None


def _goes_on(call: Call) -> bool:
    if not isinstance(call.result, dict | list):
        return _CUT.search((call.observation or "")[-400:]) is not None
    lists = (
        [value for value in call.result.values() if isinstance(value, list)] if isinstance(call.result, dict) else []
    )
    return any(not table.complete for table in tables([call])) or (
        bool(lists) and says_more(call.result, max(map(len, lists)))
    )


def unlike_the_record(answer: str, goal: str, calls: Sequence[Call], said: frozenset[str]) -> str | None:
    """A yes or no, or a state, that the one record which was looked at has otherwise.

    `said` are the words that the goal, its user and all results know: a state among them may be of something else.
    """
    rows = [row for table in tables(call for call in calls if call.kind == "read") for row in table.rows]
    if len(rows) != 1 or any(call.ok and call.kind != "read" for call in calls):
        return None
    first = words(answer)[:1]
    if first in (["yes"], ["no"]) and "?" in goal:
        flags = _flags(rows[0], goal)
        if len(flags) == 1 and (flags[0] == (first == ["yes"])) is False:
            return f"“{answer.strip()[:60]}”, and the record has it otherwise"
    for column, cell in rows[0].cells.items():
        if not isinstance(cell, str) or not {"status", "state"} & set(name_words(column)):
            continue
        told = STATES.intersection(words(answer))
        if told and not told & said and not set(words(cell)) & set(words(answer)) and len(words(cell)) == 1:
            return f"“{next(iter(told))}”, and {column} is {cell}"
    return None


def _flags(row: Row, goal: str) -> list[bool]:
    """For each yes or no of a record that a question asks for, whether it is as the question has it."""
    asked = [(cell, wanted(column, goal)) for column, cell in row.cells.items() if isinstance(cell, bool)]
    return [cell == wish for cell, wish in asked if wish is not None]
