"""Goals without a model: a request composed from the run's own tool calls. What it cannot say it refuses.

A goal may hand over only what the agent knew or chose before any tool told it (L); it names every write (W); and where
an argument was chosen among rows that the run saw, no row that it saw may have served better (C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agenther_live.relabel.checks.predicates import Bound, compile_goal, holds, phrase_start, value_for
from agenther_live.relabel.models import Case, Proposal, Refused
from agenther_live.relabel.reading.calls import Call, View, name_words
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.lexicon import UNDOING
from agenther_live.relabel.reading.mentions import fold, number
from agenther_live.relabel.reading.rows import Row, Selection, better, headline, select
from agenther_live.relabel.templates.composing import (
    Ask,
    more_is_better,
    own_row,
    proposal_of,
    split_arguments,
    superlative_text,
)
from agenther_live.relabel.templates.questions import questions
from agenther_live.relabel.templates.wording import (
    amount,
    column_text,
    duty,
    human,
    listing,
    past,
    phrase,
    verb_and_noun,
)

__all__ = ["TemplateRelabeler", "compose", "usable_calls"]


class TemplateRelabeler:
    """The built-in relabeler `template`: the first goal that can be composed, the next one at the next attempt."""

    name = "template"

    async def propose(self, case: Case, attempt: int, refused: Sequence[tuple[str, str]]) -> Proposal:
        """Give the goal number `attempt`; raises `Refused` where there is none (left)."""
        goals = compose(case)
        if attempt > len(goals):
            raise Refused("no_goal", "no further goal can be composed from the calls")
        return goals[attempt - 1]


def usable_calls(view: View) -> tuple[Call, ...]:
    """The calls that a composed goal may rest on: of the first user turn, before the first one that nobody can name."""
    found: list[Call] = []
    for call in view.calls:
        if call.at >= view.turn_end:
            break
        if call.kind == "unknown" and not call.failed:
            break
        found.append(call)
    return tuple(found)


def compose(case: Case) -> list[Proposal]:
    """All goals that can be composed, the best first.

    Raises:
        Refused: with the reason where there is none.
    """
    view = case.view
    calls = usable_calls(view)
    worked = [call for call in calls if call.ok]
    if not worked:
        raise Refused("no_goal", "no call of the first user turn worked that has a name to speak of")
    knowledge = Knowledge(view)
    problems: list[Refused] = []
    goals: list[Proposal] = []
    writes = [call for call in worked if call.kind == "write"]
    try:
        if writes:
            goals.append(_for_writes(case, knowledge, worked, writes))
        else:
            goals += questions(case, knowledge, worked)
    except Refused as refused:
        problems.append(refused)
    if not goals:
        raise problems[0] if problems else Refused("no_goal", "no goal can be composed")
    return goals


def _for_writes(case: Case, knowledge: Knowledge, worked: Sequence[Call], writes: Sequence[Call]) -> Proposal:
    signatures = [call.signature for call in writes]
    if len(set(signatures)) < len(signatures):
        raise Refused("check:writes", "the same write was made twice; no user asks for that")
    if any(_undoes(call, writes[:place]) for place, call in enumerate(writes)):
        raise Refused("no_goal", "a write took back what another had done; no user asks for that")
    if len(writes) > 3:
        raise Refused("no_goal", "too many writes for one plain request")
    asks = [_write(case, knowledge, call, [c for c in worked if c.number < call.number]) for call in writes]
    infinitive = listing([ask.infinitive for ask in asks])
    return proposal_of(case, infinitive, asks, end_call=writes[-1], writes=len(writes))


def _undoes(call: Call, earlier: Sequence[Call]) -> bool:
    """Whether a write takes back what an earlier one made: it was given what that one's result names."""
    values = {f" {fold(value)} " for _, value in call.given if isinstance(value, str) and fold(value)}
    made = [value for other in earlier for value in values if value in other.folded]
    return bool(made) and bool(UNDOING.intersection(name_words(call.name)))


def _write(case: Case, knowledge: Knowledge, call: Call, earlier: Sequence[Call]) -> Ask:
    told, picked = split_arguments(knowledge, call)
    if verb_and_noun(call.name) is None:
        raise Refused("no_goal", f"the name of {call.name} gives no words")
    bounds = [each for each in compile_goal(case.trajectory.goal[:4000]) if isinstance(each, Bound)]
    extra: list[str] = []
    confidence = 0.8
    rests: list[Call] = []
    row = own_row(call)
    for param in picked:
        selection = select(call, param, earlier) if isinstance(call.args[param], str) else None
        if selection is None:
            raise Refused(
                "check:leak", f"{param} of {call.name} was first revealed by a result, and no table explains its choice"
            )
        said, sure = _choice(case.trajectory.goal, param, selection, bounds, row)
        extra += said
        confidence = min(confidence, sure)
        rests += [c for c in earlier if c.number in {row.call for row in selection.peers}]
    if not picked and row is not None:
        extra += [_from_goal(case.trajectory.goal, bound) for bound in bounds if holds(bound, row) is True][:2]
    infinitive = duty(call.name, told)
    assert infinitive is not None
    if extra:
        best = len(extra) == 1 and extra[0].startswith("from the ")
        infinitive = f"{infinitive}{' ' if best else ', '}{', '.join(extra)}"
    return Ask(infinitive, [*rests, call], _confirmation(call), confidence)


def _choice(
    goal: str, param: str, selection: Selection, bounds: Sequence[Bound], own: Row | None
) -> tuple[list[str], float]:
    """The words that make a choice the right one, and how sure they are. Refuses a choice that a row seen beats.

    A limit that what was chosen kept and the call's own row broke is not said again: two nights cost more than one.
    """
    peers = selection.peers
    noun = human(param).removesuffix(" name").removesuffix(" id")
    if len(peers) == 1 and selection.proven:
        return [], 0.75  # there was nothing to choose
    columns = headline(peers)
    if not columns or len(peers) < 2:
        raise Refused("check:choice", f"nothing the run saw tells why it chose {selection.value!r} as {param}")
    kept = [
        bound
        for bound in bounds
        if holds(bound, selection.chosen) is True and (own is None or holds(bound, own) is not False)
    ]
    broken = [bound for bound in bounds if holds(bound, selection.chosen) is False]
    rivals = [row for row in peers if all(holds(bound, row) is not False for bound in kept)]
    if any(better(row, selection.chosen, columns) for row in rivals):
        raise Refused("check:choice", f"the run saw an offer that beats {selection.value!r}")
    words = [_from_goal(goal, bound) for bound in kept]
    for column in columns:
        mine = float(selection.chosen.cells[column])
        values = [float(row.cells[column]) for row in rivals]
        if selection.proven and len(rivals) > 1 and mine == (max(values) if more_is_better(column) else min(values)):
            return [*words, f"from the {noun} with {superlative_text(column)}"], 0.8
    if selection.proven and len(rivals) == 1 and kept:
        return words, 0.75  # the only one that keeps the limits
    relaxed = [text for text in (_relaxed(goal, bound, selection.chosen) for bound in broken) if text]
    if relaxed:
        return [*words, *relaxed], 0.65
    return words, 0.6


def _from_goal(goal: str, bound: Bound) -> str:
    """The user's own words for a limit that was kept."""
    return goal[phrase_start(goal, bound) : bound.end].strip(" ,.;")


def _relaxed(goal: str, bound: Bound, row: Row) -> str | None:
    """A limit that was broken, moved to the next round number that holds."""
    value = value_for(row, bound.topic, unit=bound.unit)
    if value is None or bound.sign not in ("<=", "<") or value <= 0:
        return None
    if bound.topic == "time":
        moved = math.ceil(value) + (1 if bound.sign == "<" else 0)
    else:
        step = 10 ** max(0, math.floor(math.log10(value)) - 1)
        moved = (math.floor(value / step) + 1) * step
    old = goal[phrase_start(goal, bound) : bound.end]
    digits = goal[bound.at :].split()[0].rstrip(".,;:!?")
    if number(digits) is None or moved > 2 * bound.value:
        return None  # twice the limit is another wish, not the same one relaxed
    new = f"{moved:,}"
    text = old.replace(digits, new, 1).strip(" ,.;")
    return text.replace(f"{new} day ", f"{new} days ").removesuffix(" day") + (" days" if text.endswith(" day") else "")


def _is_prose(text: str) -> bool:
    """Whether a cell is more than a fact: a text of a tool's, or a link, is nothing for the agent to repeat."""
    return len(text) > 60 or "://" in text or len(text.split()) > 8


def _confirmation(call: Call) -> str:
    """A final answer that says what was done, with the result's own facts."""
    said = verb_and_noun(call.name)
    assert said is not None
    verb, noun = said
    done = f"I {past(verb)} {f'the {noun} ' if noun else ''}{phrase(call.name, call.args)}".strip() + "."
    row = own_row(call)
    facts = []
    if row is not None:
        for column, value in row.cells.items():
            if column in call.args or column == "currency" or isinstance(value, bool) or _is_prose(str(value)):
                continue
            facts.append(f"{column_text(column)} {amount(column, value, row.cells)}")
    elif isinstance(call.observation, str) and call.result is None and len(call.observation) <= 200:
        facts.append(call.observation.strip().rstrip("."))
    if not facts:
        return done
    text = "; ".join(facts[:7])
    return f"{done} {text[:1].upper()}{text[1:]}."
