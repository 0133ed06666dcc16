"""Mentions: the checkable words of a text (numbers, dates, times, ids, names, quoted strings), in one normal form.

A claim can be held against evidence only where both sides are written alike: `1,250.00 EUR`, `"total": 1250.0` and
`€1250` all become the number `1250`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache, wraps
from typing import Literal, TypeVar

from agenther_live.relabel.reading.lexicon import BEGINNINGS, OPENERS, STOPWORDS, SYNONYMS

__all__ = [
    "MONTHS",
    "Mention",
    "begins_sentence",
    "content_words",
    "figures",
    "find_mentions",
    "fold",
    "number",
    "phrases_in",
    "stem",
    "synonyms",
    "words",
]

T = TypeVar("T")
Kind = Literal["number", "date", "time", "id", "email", "url", "quoted", "name"]


@dataclass(frozen=True, slots=True)
class Mention:
    """One checkable word or phrase: its kind, its text as written, its normal form, and where it stands."""

    kind: Kind
    text: str
    norm: str
    start: int
    end: int


MONTHS = {
    name: number
    for number, names in enumerate(
        ("january jan", "february feb", "march mar", "april apr", "may", "june jun", "july jul", "august aug",
         "september sep sept", "october oct", "november nov", "december dec"), start=1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_URL = re.compile(r"https?://[^\s\"'<>)\]}]+|www\.[^\s\"'<>)\]}]+", re.IGNORECASE)
# Begun only where a word begins: else a token of 60,000 characters costs a minute.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_DMY = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_MONTH})\b\.?,?\s*(\d{{4}})?", re.IGNORECASE)
_MDY = re.compile(
    rf"\b({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!\s*\d{{3}}\b)(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE
)
_TIME = re.compile(
    r"\b(\d{1,2}):(\d{2})(?::\d{2})?\s*([ap]\.?m\.?)?(?!\w)|\b(\d{1,2})\s*([ap]\.?m\.?)(?!\w)", re.IGNORECASE
)
_PART_OF_DAY = re.compile(r"\s{1,3}(?:in the (morning|afternoon|evening)|at (night))\b", re.IGNORECASE)
# What programs write: '2026-12-03T15:00:00Z'; of the time only that of no zone and that of UTC can be told.
_STAMP = re.compile(
    r"\b(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2})(?::\d{2}(?:[.,]\d{1,9})?)?([Zz]|[+-]\d{2}:?\d{2})?(?![\w:])"
)
_UTC = frozenset(("Z", "+00:00", "+0000", "-00:00"))
_ISO_MONTH = re.compile(r"(?<![\w./-])((?:19|20)\d{2}-(?:0[1-9]|1[0-2]))(?![\w/-])")
_QUOTED = re.compile(
    r"\"([^\"\n]{2,120})\"|“([^”\n]{2,120})”|‘([^’\n]{2,120})’|(?<!\w)'([^'\n]{2,120})'(?!\w)|`([^`\n]{2,120})`"
)
_TOKEN = re.compile(r"#?\w(?:[\w./&'’+-]*\w)?")
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?[$€£¥]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d.]*\d)|(?<![\w.])[-+]?[$€£¥]?\d+(?:\.\d+)?(?!\w)"
)
_UNIT_NUMBER = re.compile(
    r"(?<![\w.-])[$€£¥]?(\d+(?:\.\d+)?)(?:eur|usd|gbp|chf|kg|g|mg|lb|lbs|oz|km|mi|cm|mm|m|ml|l|h|hrs?|mins?|s|gb|mb|tb|k|x|%|[$€£¥]|st|nd|rd|th)(?!\w)",
    re.IGNORECASE,
)


_PART_OF_ID = re.compile(r"[^\W\d][-/]$|\d-$")  # what stands before a number that is a piece of 'PO-7-042'
_ID_GOES_ON = re.compile(r"-(?:[A-Za-z]+\d|[A-Z])|\.\d+\.?\d*")  # what stands behind one: '42-A7', '1.2.3'
_SHORT = 400  # texts of which many are kept in caches
_LONG = 20_000  # of texts up to here the last few hundred are kept: one run's are read several times in a row
_LONGEST = 200_000  # of those up to here the last few: a long answer is held against much


def _kept(*tiers: tuple[int, int]) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Keep what a function gives for texts: up to so many characters those of the last so many, tier by tier."""

    def of(read: Callable[[str], T]) -> Callable[[str], T]:
        caches = tuple((longest, lru_cache(maxsize=many)(read)) for longest, many in tiers)

        @wraps(read)
        def known(text: str) -> T:
            for longest, cached in caches:
                if len(text) <= longest:
                    return cached(text)
            return read(text)

        return known

    return of


@_kept((_SHORT, 4096), (_LONG, 256), (_LONGEST, 4))
def fold(text: str) -> str:
    """Case and punctuation out, words apart by single blanks: the form in which phrases are compared."""
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))


def number(text: str) -> str | None:
    """The normal form of a number, or None: '1,250.00' → '1250'."""
    if len(text) < 40 and text.isascii() and text.isdigit():  # most are
        return text.lstrip("0") or "0"
    try:
        value = Decimal(text.strip().strip("$€£¥%+").replace(",", "").replace("-$", "-"))
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value.adjusted()) > 40:
        return None
    value = value.normalize()
    return format(value if value else Decimal(0), "f")


def words(text: str) -> list[str]:
    """The words of a text, folded."""
    return fold(text).split()


_FEW = 16


def phrases_in(text: str, phrases: Collection[str]) -> set[str]:
    """Those of these folded phrases that stand in a folded text; costs both their lengths, and not the product."""
    padded = f" {text} "
    if len(phrases) <= _FEW:
        return {phrase for phrase in phrases if f" {phrase} " in padded}
    lengths = {phrase.count(" ") + 1 for phrase in phrases}
    short = sorted(length for length in lengths if length <= _FEW)
    spoken, found = text.split(), set[str]()
    for length in short:
        found.update(
            phrase for i in range(len(spoken) - length + 1) if (phrase := " ".join(spoken[i : i + length])) in phrases
        )
    if len(short) < len(lengths):
        found.update(p for p in phrases if p.count(" ") >= _FEW and len(p) <= len(text) and f" {p} " in padded)
    return found


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without its commonest endings; crude, and the same for both sides of a comparison."""
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e"), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word.endswith("ss")):
            word = word[: len(word) - len(ending)] + replacement
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou0123456789":
        return word[:-1]  # 'overlapped' and 'overlap', 'cancelled' and 'cancel'
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def synonyms(stems: set[str]) -> set[str]:
    """The stems of all words that mean the same as one of these."""
    found: set[str] = set()
    for each in SYNONYMS:
        group = {stem(word) for word in each}
        if group & stems:
            found |= group
    return found


@_kept((_SHORT, 4096), (_LONGEST, 4))
def content_words(text: str) -> tuple[str, ...]:
    """The stems of all words that carry meaning, in order; numbers count."""
    return tuple(stem(word) for word in words(text) if word not in STOPWORDS)


@_kept((10 * _SHORT, 2048), (_LONGEST, 4))  # of long ones the goal that failed, the new one, the answer, and one more
def find_mentions(text: str) -> tuple[Mention, ...]:
    """All mentions of a text, in order. A stretch of text belongs to one mention at most."""
    found: list[Mention] = []
    taken = bytearray(len(text))

    def take(kind: Kind, start: int, end: int, norm: str | None) -> None:
        if norm and taken.find(1, start, end) < 0:
            taken[start:end] = b"\1" * (end - start)
            found.append(Mention(kind, text[start:end], norm, start, end))

    for match in _URL.finditer(text):
        take("url", match.start(), match.end(), match.group().casefold().rstrip(".,;:!?"))
    for match in _EMAIL.finditer(text):
        take("email", match.start(), match.end(), match.group().casefold())
    for match in _ISO_DATE.finditer(text):
        take("date", match.start(), match.end(), _date(match[1], match[2], match[3]))
    for match in _DMY.finditer(text):
        take("date", match.start(), match.end(), _date(match[3], match[2], match[1]))
    for match in _MDY.finditer(text):
        take("date", match.start(), match.end(), _date(match[3], match[1], match[2]))
    for match in _TIME.finditer(text):
        part = _PART_OF_DAY.match(text, match.end())
        take("time", match.start(), (part or match).end(), _time(match, part))
    for match in _QUOTED.finditer(text):
        inside = next(group for group in match.groups() if group is not None)
        if number(inside) is None:
            take("quoted", match.start(), match.end(), fold(inside))
    for pattern, group in ((_NUMBER, 0), (_UNIT_NUMBER, 1)):
        for match in pattern.finditer(text):
            if not _inside_id(text, match):
                take("number", match.start(), match.end(), number(match[group]))
    for match in _TOKEN.finditer(text):
        if _is_id(match.group()):
            take("id", match.start(), match.end(), _bare(match.group()))
    _take_names(text, taken, found)
    return tuple(sorted(found, key=lambda mention: mention.start))


_DIGIT = re.compile(r"\d")
_MONTH_HINT = re.compile("jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)


@_kept((_LONG, 512), (_LONGEST, 4))
def figures(text: str) -> frozenset[str]:
    """The normal forms of all numbers, dates and times of a text: what evidence is searched for, fast and generous.

    Where `find_mentions` gives each stretch one reading, here every reading counts; names and ids are searched for as
    phrases, and are not among them.
    """
    if not _DIGIT.search(text):  # most of what costs is told by that
        return frozenset()
    found: set[str | None] = set()

    def opened(match: re.Match[str]) -> str:
        """A stamp as the date and the time that it tells; '15:00Z' is no '15:00' of nobody knows where."""
        zone = (match[3] or "").upper()
        if zone in _UTC:
            found.add(f"{match[2]}Z")
        return f"{match[1]} {'' if zone else match[2]} "

    text = _STAMP.sub(opened, text)
    for match in _ISO_DATE.finditer(text):
        found.add(_date(match[1], match[2], match[3]))
    if _MONTH_HINT.search(text):
        found.update(_date(match[3], match[2], match[1]) for match in _DMY.finditer(text))
        found.update(_date(match[3], match[1], match[2]) for match in _MDY.finditer(text))
    found |= {date[5:] for date in found if date is not None and len(date) == 10}
    found.update(_ISO_MONTH.findall(text))
    found.update(_time(match, _PART_OF_DAY.match(text, match.end())) for match in _TIME.finditer(text))
    for pattern, group in ((_NUMBER, 0), (_UNIT_NUMBER, 1)):
        for match in pattern.finditer(text):
            if not _inside_id(text, match):
                found.add(number(match[group]))
    return frozenset(each for each in found if each is not None)


def _inside_id(text: str, match: re.Match[str]) -> bool:
    """Whether digits are a piece of an id, and no number by themselves."""
    start, end = match.span()
    if start and text[start - 1] in "-/" and _PART_OF_ID.search(text[max(0, start - 2) : start]):
        return True
    return text[end : end + 1] in ("-", ".") and _ID_GOES_ON.match(text, end) is not None


def _is_id(token: str) -> bool:
    if token.isalpha() or token.isdigit():
        return False
    has_digit = any(character.isdigit() for character in token)
    has_letter = any(character.isalpha() for character in token)
    return (
        (has_digit and (has_letter or token.startswith("#"))) or "_" in token.strip("_") or (has_digit and "-" in token)
    )


def _bare(token: str) -> str:
    return token.casefold().lstrip("#")


def _date(year: str | None, month: str, day: str) -> str | None:
    number_of_month = MONTHS.get(month.casefold()) or (int(month) if month.isdigit() else 0)
    if not (1 <= number_of_month <= 12 and 1 <= int(day) <= 31):
        return None
    return f"{int(year):04d}-{number_of_month:02d}-{int(day):02d}" if year else f"{number_of_month:02d}-{int(day):02d}"


def _time(match: re.Match[str], part: re.Match[str] | None = None) -> str | None:
    """A time of the day by 24 hours; `part` is the part of the day that is said behind it."""
    hour, minute = int(match[1] or match[4]), int(match[2] or 0)
    half = (match[3] or match[5] or "").casefold()
    if half:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    if hour >= 24 or minute >= 60:
        return None
    told = (part[1] or part[2]).casefold() if part else ""
    if told and not half and hour <= 12:
        late = hour not in (1, 2, 3, 4, 5, 12) if told == "night" else told != "morning"
        hour = hour % 12 + (12 if late else 0)
    agrees = not told or (hour < 12 if told == "morning" else hour >= 12 or told == "night")
    return f"{hour:02d}:{minute:02d}" if agrees else f"{hour:02d}:{minute:02d} {told}"  # no such time: nothing shows it


_SENTENCE_END = re.compile(r"(?:[.!?:;\n]['\")\]]*\s*|^\s*|[-*•]\s+)$")
_FIRST = OPENERS | BEGINNINGS
_NAME_LINK = frozenset(("of", "the", "and", "&", "de", "la", "van", "von", "der", "for", "in"))


def begins_sentence(text: str, start: int) -> bool:
    """Whether a sentence, or an item of a list, begins at this place."""
    return bool(_SENTENCE_END.search(text[max(0, start - 6) : start]))


def _take_names(text: str, taken: bytearray, found: list[Mention]) -> None:
    """Runs of capitalised words; the first word of a sentence counts only where it is no usual opener."""
    run: list[re.Match[str]] = []

    def flush() -> None:
        while run and run[-1].group().casefold() in _NAME_LINK:
            run.pop()
        if run:
            start, end = run[0].start(), run[-1].end()
            norm = fold(text[start:end])
            if norm and norm not in STOPWORDS and len(norm) > 1:
                found.append(Mention("name", text[start:end], norm, start, end))
                taken[start:end] = b"\1" * (end - start)
        run.clear()

    previous_end = 0
    for match in _TOKEN.finditer(text):
        token, start, end = match.group(), match.start(), match.end()
        gap, previous_end = text[previous_end:start], end
        if not run and not token[0].isupper():
            continue
        if run and gap.strip(" "):
            ampersand = gap.strip() == "&"
            if not ampersand:
                flush()
        free = taken.find(1, start, end) < 0
        capital = token[0].isupper() and free
        at_start = not run and begins_sentence(text, start)
        bare = token.casefold().removesuffix("'s").removesuffix("’s")
        if capital and not run and ((at_start and bare in _FIRST) or token.casefold() in STOPWORDS):
            continue
        if capital or (run and free and bare in _NAME_LINK and token.islower()):
            run.append(match)
        else:
            flush()
    flush()
