"""Numbers that are written as words ('two nights', 'for four', 'a dozen'), apart from words that only look like one."""

from __future__ import annotations

import re
from functools import lru_cache

from agenther_live.relabel.reading.lexicon import NUMBER_WORDS
from agenther_live.relabel.reading.mentions import Mention

__all__ = ["spelled"]

_FROM_TWO = "|".join(NUMBER_WORDS[2:])
_VALUES = {word: value for value, word in enumerate(NUMBER_WORDS) if value >= 2} | {"a dozen": 12}
_WORD = re.compile(rf"(?<![\w.'’-])(?:{'|'.join(sorted(_VALUES, key=len, reverse=True))})(?![\w'’-])", re.IGNORECASE)
_BEHIND = re.compile(r"\s{1,3}([^\W\d_]+)")
_BEFORE = re.compile(r"([\w'’-]+)[^\S\n]{1,3}$")
# 'two dozen', 'three and a half', 'one third', 'five point two', 'six o'clock' are other numbers.
_GOES_ON = re.compile(
    r"\s{1,3}(?:dozens?|hundreds?|thousands?|millions?|billions?|scores?|and (?:a|one|two|three) |point\b|o['’ ]?clock|"
    r"hal(?:f|ves)|thirds?|quarters?|fifths?|tenths?|times?\b|\d|and twenty|"
    rf"(?:one|{_FROM_TWO})\b)",
    re.IGNORECASE,
)
_BY_WORD = re.compile(
    r"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half)", re.IGNORECASE
)
# Before a number that points at things ('the cheaper of the two'), or is a limit, a share or a difference.
_POINTING = re.compile(
    r"(?:the|these|those|all|other|first|last|next|top|least|most|than|within|under|over|about|nearly|almost|another|"
    r"more|additional|extra|every|each|of|in)",
    re.IGNORECASE,
)


@lru_cache(maxsize=16)  # a goal and an answer, read by several checks in a row
def spelled(text: str) -> tuple[Mention, ...]:
    """The numbers from two to twenty of a text that are written as words, in order, as mentions of numbers.

    'one' is too often a pronoun ('the cheapest one'); no word with a capital counts that is part of a name.
    """
    return tuple(found for match in _WORD.finditer(text) if (found := _read(text, match)) is not None)


def _read(text: str, match: re.Match[str]) -> Mention | None:
    word, start, end = match.group().casefold(), match.start(), match.end()
    before, behind = _BEFORE.search(text[max(0, start - 30) : start]), _BEHIND.match(text, end)
    led, follows = before[1] if before else "", behind[1] if behind else ""
    if _GOES_ON.match(text, end) or _BY_WORD.fullmatch(led) or _POINTING.fullmatch(led):
        return None
    if led[:1].isdigit() or (match.group()[0].isupper() and (led or follows[:1].isupper())):
        return None  # '3 two', 'Ocean's Eleven', 'Seven Oaks'
    return Mention("number", match.group(), str(_VALUES[word]), start, end)
