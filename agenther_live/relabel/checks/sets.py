"""Requirements about sets, compiled from the words of a goal: how many there are, and of which it must be one.

"How many suppliers are there for hex bolts?" asks for a number that rows have; "from Acme or Corvo" and "not from
Acme" limit what may be chosen.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from agenther_live.relabel.reading.lexicon import STOPWORDS
from agenther_live.relabel.reading.mentions import Mention, find_mentions

__all__ = ["HowMany", "OneOf", "how_many", "one_of", "runs_of"]

_ASKED = re.compile(
    r"\b(?:how many|(?:tell|give|show|find|find out|report|what is|what's)(?: me| us)? the (?:total )?number of)\b"
    r"(?P<of> of (?:them|these|those|the)\b)?",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"[.?!;\n](?!\d)|,? (?:and|then) (?:then |please |also )*(?=[a-z]+ (?:me|them|it|the|an?|us)\b)|$", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")
_JOINT = re.compile(r",\s*|,?\s*(?P<last>or|and|nor)\s+(?:(?:from|by|with|the|in|to|at)\s+)*", re.IGNORECASE)
_EXCEPT = re.compile(
    r"\b(?:not(?: (?:from|by|with|via|in|to|at|on|use|using))?|other than|except(?: for)?|excluding|apart from|"
    r"avoid(?:ing)?|never(?: from| by| with| use)?|without using)\s+(?:the\s+)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class HowMany:
    """The number of some things is asked for. `nouns` are the words behind 'how many', up to the first that is none.

    `start` and `end` are where the question stands; limits inside it say which of the things count.
    """

    nouns: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class OneOf:
    """What is chosen must be one of these things, or none of them where `never`."""

    values: tuple[str, ...]
    never: bool
    start: int
    end: int


def how_many(goal: str) -> Iterator[HowMany]:
    """The questions of a goal for a number of things."""
    endings: list[int] | None = None  # where clauses end; looked for once, since a goal may ask without an end
    for match in _ASKED.finditer(goal):
        if endings is None:
            endings = [ending.start() for ending in _ENDS.finditer(goal, match.end())]
        end = endings[bisect_left(endings, match.end())]
        nouns: list[str] = []
        last = match.end()
        for word in _WORD.finditer(goal, last, end):
            if match["of"] or word.group().casefold() in STOPWORDS or goal[last : word.start()].strip():
                break
            nouns.append(word.group().casefold())
            last = word.end()
        yield HowMany(tuple(nouns), match.start(), end)


def one_of(goal: str) -> Iterator[OneOf]:
    """The alternatives ("Acme or Corvo") and exceptions ("not from Acme") of a goal, by name."""
    for run, joints in runs_of(goal):
        begin = max(0, run[0].start - 40)
        before = _EXCEPT.search(goal, begin, run[0].start)
        values = tuple(mention.text for mention in run)
        if before is not None:
            yield OneOf(values, True, before.start(), run[-1].end)
        elif joints and joints[-1] == "or":
            yield OneOf(values, False, run[0].start, run[-1].end)


def runs_of(goal: str) -> Iterator[tuple[list[Mention], list[str]]]:
    """Names, ids and quoted things that stand in one list, with the words between them."""
    run: list[Mention] = []
    joints: list[str] = []
    for mention in find_mentions(goal):
        if mention.kind not in ("name", "id", "quoted"):
            continue
        joint = _JOINT.fullmatch(goal, run[-1].end, mention.start) if run else None
        if run and joint is None:
            yield run, joints
            run, joints = [], []
        elif run and joint is not None:
            joints.append((joint["last"] or "").casefold())
        run.append(mention)
    if run:
        yield run, joints
