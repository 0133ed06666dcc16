"""What composed goals are made of, be they orders or questions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agenther_live.relabel.models import Case, Proposal, Refused, Requirement
from agenther_live.relabel.reading.calls import Call
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.rows import Row, column_polarity, tables
from agenther_live.relabel.templates.wording import (
    column_text,
    request,
)

__all__ = ["Ask", "more_is_better", "own_row", "proposal_of", "split_arguments", "superlative_text"]


@dataclass
class Ask:
    """A part of the request: the words, the calls it rests on, and what the answer says."""

    infinitive: str
    calls: list[Call]
    answer: str
    confidence: float
    extra: list[str] = field(default_factory=list)


def split_arguments(knowledge: Knowledge, call: Call) -> tuple[dict[str, object], list[str]]:
    """Arguments that the agent could know, and those that a result had revealed before."""
    told: dict[str, object] = {}
    picked: list[str] = []
    for key, value in call.args.items():
        if call.steers(key) or value in (None, "", [], {}):
            continue
        if not isinstance(value, str | int | float):
            raise Refused("no_goal", f"{call.name} was called with a nested argument, {key}")
        if isinstance(value, bool):
            told[key] = value
            continue
        if isinstance(value, str) and (len(value) > 80 or len(value.split()) > 9) and not call.is_text:
            raise Refused("no_goal", f"{call.name} was called with a long text, {key}")
        first = knowledge.first(str(value))
        if first is not None and first[1] == "seen" and first[0] < call.at:
            picked.append(key)
        else:
            told[key] = value
    return told, picked


def more_is_better(column: str) -> bool:
    """Whether the largest value of a column serves best."""
    return column_polarity(column) > 0


def superlative_text(column: str) -> str:
    """The best value of a column in words: 'the lowest total price'."""
    parts = column_text(column).removesuffix(" cents").split()
    if "delivery" in parts:
        return "the fastest delivery"
    if more_is_better(column):
        return f"the highest {' '.join(parts)}"
    return (
        f"the lowest {' '.join(parts)}"
        if not {"days", "hours", "minutes", "duration"} & set(parts)
        else f"the shortest {' '.join(parts)}"
    )


def own_row(call: Call) -> Row | None:
    """The one record that a call gave; None where it gave several or none."""
    found = [row for table in tables([call]) for row in table.rows]
    return found[0] if len(found) == 1 else None


def proposal_of(case: Case, infinitive: str, asks: Iterable[Ask], *, end_call: Call, writes: int = 0) -> Proposal:
    """Put the parts of a request together. The span ends behind `end_call`."""
    asks = list(asks)
    end = (end_call.observed_at if end_call.observed_at is not None else end_call.at) + 1
    requirements = tuple(
        Requirement(
            ask.infinitive, tuple(sorted({i for c in ask.calls for i in (c.at, c.observed_at) if i is not None}))
        )
        for ask in asks
    )
    return Proposal(
        hindsight_goal=request(infinitive, infinitive),
        confidence=min(ask.confidence for ask in asks),
        valid=True,
        end=end,
        requirements=requirements,
        final_answer=" ".join(ask.answer for ask in asks),
        rationale=f"composed from {writes} writes and {len(requirements)} requirements",
        method="template",
    )
