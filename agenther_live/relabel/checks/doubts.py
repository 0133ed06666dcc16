"""What the judge `rules` wants proven besides: every word, argument and predicate of a goal that no check refutes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agenther_live.relabel.checks.confirm import confirmed, says_another
from agenther_live.relabel.checks.grounds import SAID, Fault, Ground, evaluate, ground_of, revealed
from agenther_live.relabel.checks.predicates import compile_goal, phrase_start
from agenther_live.relabel.models import Candidate, Case
from agenther_live.relabel.reading.calls import name_words
from agenther_live.relabel.reading.lexicon import WRITING
from agenther_live.relabel.reading.mentions import content_words, stem, synonyms, words
from agenther_live.relabel.reading.rows import tables

__all__ = ["doubts", "proofs"]

_RULE = re.compile(
    r"\b(?:never|not|no|cannot|only|unless|without|before|until|must|may|except|require[sd]?|approval|permission|confirm\w*|"
    r"first|limit\w*|at most|maximum|exceed\w*|forbidden|prohibited|needs?|above|below|over|under|up to|"
    r"(?:more|less) than|manager\w*|supervisor\w*|eligible|(?:is|are|reserved) for|within|after|during|if|when|should|"
    r"always|older|younger|adults?|minors?|age|verif\w*|apply|applies|restrict\w*)\b|n['’]t\b",
    re.IGNORECASE,
)
_OF_ANSWERS = frozenset(map(stem, ("answer", "character", "line", "message", "reply", "response", "sentence", "word")))
_OWNING = frozenset(("a", "an", "her", "his", "its", "my", "our", "that", "the", "their", "this", "your"))
_ID = re.compile(r"(?:id|ids|number|#\S+|[A-Za-z]+-?\d\S*)", re.IGNORECASE)
_DEEDS = frozenset(stem(word) for word in WRITING)


def doubts(case: Case, candidate: Candidate) -> Fault | None:
    """What is not proven about a candidate that no check refutes."""
    ground = ground_of(case, candidate)
    for check in _DOUBTS:
        fault = next(check(ground), None)
        if fault is not None:
            return fault
    return None


def proofs(case: Case, candidate: Candidate) -> int:
    """How many requirements of the goal were compiled and proven."""
    ground = ground_of(case, candidate)
    return sum(1 for each in compile_goal(candidate.goal) if evaluate(ground, each) is True)


def _every_word(ground: Ground) -> Iterator[Fault]:
    """T: no word of the goal is there that neither the run's calls and results nor the tools know."""
    named = {stem(part) for call in ground.calls if call.ok for part in name_words(call.name)}
    deeds = _DEEDS - named - synonyms(named)
    known = set(SAID)
    for call in ground.calls:
        known.update(stem(part) for part in name_words(call.name))
        for key, value in call.args.items():
            known.update(stem(part) for part in name_words(key))
            known.update(content_words(str(value)))
        if call.ok:
            known.update(content_words(call.observation or ""))
    proven = [each for each in compile_goal(ground.candidate.goal) if evaluate(ground, each) is True]
    goal = ground.candidate.goal
    for each in proven:  # blanks of the same length: one may stand inside another
        start = phrase_start(goal, each)
        goal = goal[:start] + " " * (each.end - start) + goal[each.end :]
    for word in content_words(goal):
        if word in deeds and not _named(goal, word):
            yield Fault("rules:deeds", f"the goal says “{_written(goal, word)}”, and no call did that")
        if word not in known and word not in {stem(other) for other in known}:
            yield Fault("rules:words", f"nothing in the run knows the word “{_written(goal, word)}” of the goal")


def _named(goal: str, stemmed: str) -> bool:
    """Whether a word that could be a deed is a thing wherever a goal says it: 'order id', 'order A-1', 'my order'."""
    text = [(match.group(), stem(match.group().casefold())) for match in re.finditer(r"[\w#-]+", goal)]
    places = [place for place, (_, stemmed_too) in enumerate(text) if stemmed_too == stemmed]
    return bool(places) and all(
        (place and text[place - 1][0].casefold() in _OWNING)
        or (place + 1 < len(text) and _ID.fullmatch(text[place + 1][0]) is not None)
        for place in places
    )


def _written(goal: str, stemmed: str) -> str:
    """The word of a goal as it stands there."""
    return next((word for word in words(goal) if stem(word) == stemmed), stemmed)


def _every_argument(ground: Ground) -> Iterator[Fault]:
    """T and W: what the agent put into its useful calls out of its own head must stand in the goal."""
    goal_stems = set(content_words(ground.candidate.goal))
    trained = {index for index, each in enumerate(ground.candidate.messages) if each.train}
    told = " ".join(
        m.text
        for m in ground.case.view.messages[: ground.case.view.goal_index or 0]
        if m.role in ("system", "developer")
    )
    system = set(content_words(told[:50_000]))
    for call in ground.calls:
        if not call.ok or call.at not in trained:
            continue
        for key, value in call.args.items():
            if call.steers(key) or isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
                continue
            if revealed(ground.knowledge, str(value), call):
                continue
            missing = {word for word in content_words(str(value)) if word not in goal_stems and word not in system}
            if missing:
                yield Fault(
                    "rules:arguments", f"{call.name} was given {key}={str(value)[:60]!r}, which the goal does not say"
                )


def _every_predicate(ground: Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    for each in compile_goal(goal):
        if evaluate(ground, each) is None:
            yield Fault("rules:predicate", f"nothing proves “{goal[each.start : each.end]}”")


def _confirmed(ground: Ground) -> Iterator[Fault]:
    """T: every write says that it was done; not to deny it is not enough."""
    for call in ground.calls:
        if call.ok and call.kind == "write":
            said = " ".join(text for at, _, text, _ in ground.knowledge.entries if at < call.at)
            if not confirmed(call, said):
                yield Fault("rules:unconfirmed", f"the result of {call.name} does not say that it was done")


def _echoed(ground: Ground) -> Iterator[Fault]:
    """T: what came back is about what was asked for, and not about another city or with another priority."""
    for call in ground.calls:
        if call.ok and ground.candidate.messages[call.at].train and (other := says_another(call)) is not None:
            yield Fault("rules:echo", f"the result of {call.name} has another {other[0]}: {other[1]}"[:300])


def _allowed(ground: Ground) -> Iterator[Fault]:
    """W: no rule of the system prompt speaks of the action that was taken; what it allows rules cannot read.

    A rule is about a write where they share a word: of the tool's name, of what it was given, or of the goal. One with
    a number in it ("no refunds after 30 days") may be about any write.
    """
    prompts = [m.text for m in ground.case.view.messages if m.role in ("system", "developer")]
    sentences = [each for text in prompts for each in re.split(r"[.!?;\n]+", text[:50_000])]
    rules = [(each, set(content_words(each))) for each in sentences if _RULE.search(each)]
    for call in ground.calls if rules else ():
        if not call.ok or call.kind == "read":
            continue
        named = {stem(part) for part in name_words(call.name)}
        named |= synonyms(named)
        about = {stem(part) for key in call.args for part in name_words(key)} | set(
            content_words(ground.candidate.goal)
        )
        about |= {word for _, value in call.given for word in content_words(str(value)[:400])}
        for sentence, said in rules:
            counts = re.search(r"\d", sentence) and not _OF_ANSWERS & said
            if named & said or (about - SAID) & said or counts:
                yield Fault("rules:allowed", f"the system prompt has a rule about it: “{sentence.strip()[:120]}”")


def _unread(ground: Ground) -> Iterator[Fault]:
    """C: where things were compared, rules could read all of what the same tools brought back."""
    for selection in ground.selections:
        numbers = {row.call for row in selection.peers}
        tools = {call.name for call in ground.calls if call.number in numbers}
        for call in ground.calls:
            if call.ok and call.name in tools and not tables([call]):
                yield Fault("rules:unread", f"a result of {call.name} is no record that could be compared")


def _one_turn(ground: Ground) -> Iterator[Fault]:
    """S: rules cannot read what a later user message does to the goal, so there must be none."""
    if ground.case.view.turn_end < ground.end:
        yield Fault("rules:turns", "the span holds a second message of the user")


def _bare_prompt(ground: Ground) -> Iterator[Fault]:
    """S: text of the user's behind the goal (reflections, say) was written for the failed one; rules cannot read it."""
    at = ground.case.view.goal_index
    if at is not None:
        behind = ground.candidate.messages[at].message.text.partition(ground.candidate.goal)[2]
        if len(content_words(behind)) >= 8:
            yield Fault("rules:prompt", "the user's message goes on behind the goal")


def _no_detours(ground: Ground) -> Iterator[Fault]:
    trained = {index for index, each in enumerate(ground.candidate.messages) if each.train}
    acting = {call.at for call in ground.calls}
    if acting and len(acting & trained) * 2 < len(acting):
        yield Fault("rules:detours", "less than half of the turns serve the goal")


def _ending(ground: Ground) -> Iterator[Fault]:
    last = max((call for call in ground.calls if call.ok), key=lambda call: call.at, default=None)
    served = set(ground.candidate.proposal.evidence)
    if last is None or not (last.at in served or last.observed_at in served):
        yield Fault("rules:ending", "the span goes on after the goal was reached")
    if ground.case.strategy == "future":  # a cut run has none; whether one would stop there a chat model is asked
        return
    final = ground.candidate.messages[-1]
    if len(ground.candidate.messages) == ground.end or not final.train:
        yield Fault("rules:ending", "the sample has no final answer")


_DOUBTS = (
    _every_word,
    _every_argument,
    _every_predicate,
    _confirmed,
    _echoed,
    _allowed,
    _unread,
    _one_turn,
    _bare_prompt,
    _no_detours,
    _ending,
)
