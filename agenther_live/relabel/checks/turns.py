"""Conversations of several turns: where a later message of the user's contradicts the goal, the span ends before it."""

from __future__ import annotations

import re

from agenther_live.relabel.checks.predicates import Bound, compile_goal
from agenther_live.relabel.reading.calls import View
from agenther_live.relabel.reading.mentions import content_words, find_mentions

__all__ = ["first_contradiction"]

# A change of mind. Other languages are left to the judges, who are asked the same (S).
_CHANGE = re.compile(
    r"\b(?:instead|actually|rather than|chang(?:e|ed) my mind|on second thou?ghts?|never ?mind|"
    r"forget (?:it|that|about)|"
    r"scratch that|no longer|cancel|(?:do not|don['’]t) (?:want|need|book|order|buy|send|change|do)|hold on|"
    r"not anymore|stop)\b",
    re.IGNORECASE,
)


def first_contradiction(view: View, goal: str, end: int) -> int | None:
    """The index of the first user message behind the goal's and before `end` that contradicts a goal; None: none does.

    It does where it sets another limit on the same thing, or changes the user's mind to something that the goal does
    not say.
    """
    limits = {each.topic: (each.sign, each.value) for each in compile_goal(goal) if isinstance(each, Bound)}
    said, words = {mention.norm for mention in find_mentions(goal)}, set(content_words(goal))
    for index in view.user_indices:
        if index >= end or index == view.goal_index:
            continue
        text = view.messages[index].text[:8000]
        for each in compile_goal(text):
            if isinstance(each, Bound) and limits.get(each.topic, (each.sign, each.value)) != (each.sign, each.value):
                return index
        changed = _CHANGE.search(text)
        if changed is None or set(content_words(changed[0])) & words:
            continue
        facts = {mention.norm for mention in find_mentions(_CHANGE.sub(" ", text))}
        if not facts or not facts <= said:
            return index
    return None
