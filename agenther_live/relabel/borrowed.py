"""What other users of the same agent asked for: the best goals there are, where a run reached one; else a style.

A goal that a real user wrote needs no invention: no drift in how requests read, and where its own run is kept too, two
runs for one prompt. It is taken only where rules prove it of the run: the checks, and all that the judge `rules` wants
besides. Then the panel is asked as about any other goal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from agenther_live.redact import PLACEHOLDER
from agenther_live.relabel.checks.checks import refute
from agenther_live.relabel.checks.doubts import doubts
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.models import Case, Policy, Proposal, Refused, Requirement, UserGoal
from agenther_live.relabel.reading.calls import View
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.lexicon import CURRENCIES
from agenther_live.relabel.reading.mentions import content_words, find_mentions, fold
from agenther_live.relabel.templates.template import compose
from agenther_live.trajectory import Trajectory

__all__ = ["METHOD", "borrowed", "style_of", "theirs_alone"]

METHOD = "user_goal"
_CONFIDENCE = 0.8  # proven by rules; a composed goal has as much at best
_MOST = 3  # goals that a panel is asked about before the relabeler is
_STYLE_CHARS = 300


def borrowed(case: Case, others: Sequence[UserGoal]) -> Iterator[Proposal]:
    """Give the goals of other users that this run is proven to have reached, at most three."""
    if not others or not case.policy.reuse_goals:
        return
    try:
        composed = compose(case)
    except Refused:
        return  # what the run did cannot be put into words, so nothing can be held against a goal
    given, seen = 0, {fold(case.trajectory.goal)}
    for like in composed:
        asked = _arguments(case, like)
        for other in others:
            known = fold(other.text)
            if known in seen or not asked <= set(content_words(other.text)) or len(other.text) > 2000:
                continue
            seen.add(known)
            proposal = replace(
                like,
                hindsight_goal=other.text,
                requirements=(Requirement(other.text[:500], like.evidence),),
                confidence=_CONFIDENCE,
                rationale=f"asked by the user of {other.trajectory_id}",
                method=METHOD,
                asked_in=other.trajectory_id,
            )
            try:
                candidate = demonstrate(case, proposal)
            except Refused:
                continue
            if refute(case, candidate) is None and doubts(case, candidate) is None:
                yield proposal
                given += 1
                if given == _MOST:
                    return


def _arguments(case: Case, like: Proposal) -> set[str]:
    """Words that a goal must hold, as all of it that the composed goal says stands in the failed goal's own words."""
    served = set(like.evidence)
    last = [call for call in case.view.calls if call.ok and call.at in served][-1:]
    own = {word for call in last for value in call.args.values() for word in content_words(str(value))}
    return own & set(content_words(like.hindsight_goal))


def style_of(trajectory: Trajectory, others: Sequence[UserGoal], policy: Policy) -> tuple[UserGoal, ...]:
    """Give a few requests of other users, shortened; the same ones at every visit, as far as they are still there."""
    places = {
        other: hashlib.sha256(f"{trajectory.trajectory_id}\x1f{other.trajectory_id}".encode()).digest()
        for other in others
        if fold(other.text) != fold(trajectory.goal) and not PLACEHOLDER.search(other.text)
    }
    chosen = sorted(places, key=places.__getitem__)[: policy.style_examples]
    return tuple(replace(other, text=other.text[:_STYLE_CHARS]) for other in chosen)


def theirs_alone(seen: View, style: Sequence[UserGoal]) -> frozenset[str]:
    """The numbers, names and things that stand in these requests and nowhere in the run, in their normal form."""
    if not style:
        return frozenset()
    knowledge = Knowledge(seen)
    found = {mention.norm: mention for each in style for mention in find_mentions(each.text)}
    return frozenset(norm for norm, mention in found.items() if knowledge.first(mention) is None) - CURRENCIES
