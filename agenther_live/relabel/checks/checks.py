"""The deterministic checks: what proves a goal or its demonstration wrong, before any judge is paid.

`refute` finds definite faults and holds for every relabeler and panel. T, S, C, W, L, D are the six questions of
acceptance: true, stops where it should, no better choice was seen, every write is asked for, nothing is leaked, and
it differs from the failed goal in what failed.
"""

from __future__ import annotations

from collections.abc import Iterator

from agenther_live.redact import PLACEHOLDER
from agenther_live.relabel.checks.answers import answer_faults, sizes
from agenther_live.relabel.checks.confirm import says_another
from agenther_live.relabel.checks.ground import field_conflict, leaked, ungrounded
from agenther_live.relabel.checks.grounds import (
    SAID,
    Fault,
    Ground,
    evaluate,
    ground_of,
    revealed,
    untold,
)
from agenther_live.relabel.checks.missed import still_asked
from agenther_live.relabel.checks.parts import (
    another_row,
    flag_unlike,
    left_out,
    out_of_order,
    overwritten,
    too_few,
    turned_round,
    undone,
)
from agenther_live.relabel.checks.predicates import Bound, Superlative, compile_goal, holds
from agenther_live.relabel.checks.pretended import simulated
from agenther_live.relabel.checks.queued import only_queued, says_queued
from agenther_live.relabel.checks.reworded import miscounted, odd_weekday
from agenther_live.relabel.checks.telling import another_currency
from agenther_live.relabel.checks.told import asked_rows
from agenther_live.relabel.demonstrate import argued, cites
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import Candidate, Case
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.lexicon import CURRENCIES, TRYING
from agenther_live.relabel.reading.mentions import Mention, content_words, find_mentions, fold, number, stem, synonyms
from agenther_live.relabel.reading.rows import better, headline
from agenther_live.relabel.reading.spelled import spelled
from agenther_live.relabel.templates.wording import human
from agenther_live.trajectory import NOT_AS_SEEN

__all__ = ["Fault", "contradicts", "refute", "same_goal"]


def refute(case: Case, candidate: Candidate) -> Fault | None:
    """The first definite fault of a candidate; None where there is none."""
    known = case.view.cache.get("refuted")
    if known is not None and known[0] is candidate:
        fault: Fault | None = known[1]
        return fault
    fault = _first_fault(ground_of(case, candidate))
    case.view.cache["refuted"] = (candidate, fault)
    return fault


def _first_fault(ground: Ground) -> Fault | None:
    for check in (
        _form,
        _difference,
        _evidence,
        _conversation,
        _limits,
        _untold,
        _described,
        _missed,
        _style,
        _grounding,
        _leaks,
        _writes,
        _parts,
        _arguments,
        _choice,
        answer_faults,
    ):
        fault = next(check(ground), None)
        if fault is not None:
            return fault
    return None


def contradicts(case: Case, candidate: Candidate) -> Fault | None:
    """The first fault of the goal itself against what the run did (T, C and W, without the form of the sample)."""
    ground = ground_of(case, candidate)
    faults = (
        fault
        for check in (_limits, _described, _grounding, _writes, _parts, _arguments, _choice)
        for fault in check(ground)
    )
    return next(faults, None)


def _form(ground: Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    if len(content_words(goal)) < 2 or len(goal) > 4000:
        yield Fault("check:form", "the goal is empty or far too long")
    if visible(goal) != goal:
        yield Fault("check:form", "the goal holds characters that nobody sees")
    if PLACEHOLDER.search(goal) or PLACEHOLDER.search(ground.candidate.proposal.final_answer or ""):
        yield Fault("check:placeholder", "the goal or the answer holds a redaction placeholder")
    if NOT_AS_SEEN.intersection(ground.case.trajectory.flags):
        if "spliced" in ground.case.trajectory.flags:
            yield Fault("check:spliced", "its models were asked apart from each other, and none saw it as it stands")
        else:
            yield Fault("check:truncated", "parts of the run were cut at capture, so nothing about it is certain")


def same_goal(new: str, old: str) -> bool:
    """Whether a hindsight goal asks for all that the failed goal asked."""
    if fold(new) == fold(old):
        return True
    had, has = set(content_words(old)), set(content_words(new))
    lost = {word for word in had - has if word not in SAID}
    gained = {word for word in has - had if word not in SAID}
    if lost or not old.strip():
        facts = {mention.norm for mention in find_mentions(old)} ^ {mention.norm for mention in find_mentions(new)}
        marks = {type(each).__name__ + str(getattr(each, "topic", "")) for each in compile_goal(old)} ^ {
            type(each).__name__ + str(getattr(each, "topic", "")) for each in compile_goal(new)
        }
        return not (facts - CURRENCIES or marks or len(lost) >= 2 or gained)
    return True


def _difference(ground: Ground) -> Iterator[Fault]:
    if same_goal(ground.candidate.goal, ground.case.failed_goal):
        yield Fault(
            "check:same_goal", "the goal asks for all that the failed goal asked, and that was judged not to be reached"
        )


def _evidence(ground: Ground) -> Iterator[Fault]:
    worked = {index for call in ground.calls if call.ok for index in (call.at, call.observed_at) if index is not None}
    seen = ground.case.view.observation_indices
    for requirement in ground.candidate.proposal.requirements:
        if not any(index in worked and index < ground.end for index in requirement.messages):
            yield Fault("check:evidence", f"no result of a call that worked shows “{requirement.text[:120]}”")
        if any(index >= ground.end or (index not in seen and index not in worked) for index in requirement.messages):
            yield Fault("check:evidence", f"“{requirement.text[:120]}” cites messages outside of what is kept")
    if not ground.candidate.proposal.requirements:
        yield Fault("check:evidence", "the goal comes without a requirement that could be proven")


def _conversation(ground: Ground) -> Iterator[Fault]:
    """S and form: no unanswered call, no trace of the old goal that the user's message no longer explains."""
    view = ground.case.view
    for call in ground.calls:
        if call.why == "unanswered":
            yield Fault("check:unanswered", f"the span holds a call of {call.name} that was never answered")
        if ground.candidate.messages[call.at].train and (
            run := argued(call, ground.case.trajectory.goal, ground.candidate.goal)
        ):
            yield Fault("check:old_goal", f"{call.name} was given words of the failed goal: “{run[:120]}”")
    old = fold(ground.case.trajectory.goal)
    if len(old) >= 12:
        for index in range(ground.case.trajectory.context_len, ground.end):
            if index == view.goal_index:
                prompt = ground.candidate.messages[index].message.text
                if cites(
                    prompt.replace(ground.candidate.goal, " ", 1), ground.case.trajectory.goal, ground.candidate.goal
                ):
                    yield Fault("check:old_goal", "the user's message goes on about the failed goal")
            elif view.messages[index].role != "assistant" and old in fold(view.messages[index].text):
                yield Fault("check:old_goal", f"message {index} repeats the failed goal")


def _limits(ground: Ground) -> Iterator[Fault]:
    goal = ground.candidate.goal
    for each in compile_goal(goal):
        if evaluate(ground, each) is False:
            yield Fault(
                "check:choice" if isinstance(each, Superlative) else "check:constraint",
                f"“{goal[each.start : each.end]}” is not so",
            )


def _untold(ground: Ground) -> Iterator[Fault]:
    """T and C: nothing is claimed of which rows speak without proving it. No proof that the goal is false."""
    goal = ground.candidate.goal
    for each in compile_goal(goal):
        if evaluate(ground, each) is None and (why := untold(ground, each)) is not None:
            yield Fault("check:untold", f"nobody can know “{goal[each.start : each.end]}”: {why}")


def _described(ground: Ground) -> Iterator[Fault]:
    """T: "the shipped order" is the row that was chosen, where a column of it says another thing of that row."""
    goal = f" {fold(ground.candidate.goal)} "
    for selection in ground.selections:
        noun = fold(human(selection.param)).removesuffix(" id").removesuffix(" number").removesuffix(" name")
        for row in selection.peers:
            for column, cell in row.cells.items():
                mine = selection.chosen.cells.get(column)
                if not isinstance(cell, str) or not isinstance(mine, str) or fold(cell) == fold(mine) or not fold(cell):
                    continue
                place = goal.find(f" {fold(cell)} {noun} ")
                if place >= 0 and goal[:place].rpartition(" ")[2] not in ("not", "non", "never", "no"):
                    yield Fault("check:constraint", f"“{cell} {noun}” is not so: {column} of what was chosen is {mine}")


def _missed(ground: Ground) -> Iterator[Fault]:
    """D: the difference from the failed goal touches what the run is known to have missed."""
    for part in still_asked(ground):
        yield Fault("check:missed", f"the goal still asks for “{part}”, which the run did not reach")


def _style(ground: Ground) -> Iterator[Fault]:
    """Nothing concrete of another user's request is taken over, unless the span shows it too."""
    shown = {mention.norm for each in ground.case.style for mention in find_mentions(each.text)}
    for mention in find_mentions(ground.candidate.goal) if shown else ():
        if mention.norm not in shown or mention.norm in CURRENCIES or mention.start in ground.proven:
            continue
        if ground.knowledge.first(mention) is None:
            yield Fault("check:style", f"“{mention.text}” comes from another user's request, not from this run")


def _grounding(ground: Ground) -> Iterator[Fault]:
    for mention in ungrounded(ground.candidate.goal, ground.knowledge, ground.proven, ground.reworded):
        yield Fault("check:grounding", f"no result and no argument shows “{mention.text}”")
    conflict = field_conflict(ground.candidate.goal, ground.calls, ground.proven)
    if conflict is not None:
        yield Fault("check:grounding", f"“{conflict.text}” stands in another field of the evidence than in the goal")
    for why in (
        another_currency(ground.candidate.goal, ground.calls, ground.case.view.told),
        odd_weekday(ground.candidate.goal, ground.knowledge),
        miscounted(ground.candidate.goal, ground.calls, ground.knowledge, sizes(ground)),
    ):
        if why is not None:
            yield Fault("check:grounding", why)


def _leaks(ground: Ground) -> Iterator[Fault]:
    for mention in leaked(ground.candidate.goal, ground.knowledge, ground.proven, ground.reworded):
        yield Fault("check:leak", f"“{mention.text}” was first revealed by a result")


def _writes(ground: Ground) -> Iterator[Fault]:
    """W: every write that worked is asked for, by its verb or noun and with the numbers and ids it was given."""
    goal_stems = set(content_words(ground.candidate.goal))
    asked = (*find_mentions(ground.candidate.goal), *spelled(ground.candidate.goal))
    goal_facts = {mention.norm for mention in asked}
    done: set[str] = set()
    answer = ground.candidate.proposal.final_answer
    told = answer is None or says_queued(answer) or says_queued(ground.candidate.goal)
    for call in ground.calls:
        if not call.ok or call.kind != "write":
            continue
        if not told and (waits := only_queued(call, ground.calls)) is not None:
            yield Fault("check:writes", f"{call.name} was only taken in (“{waits[:60]}”), and nobody says so")
        if call.signature in done:
            yield Fault("check:writes", f"{call.name} was made twice with the same arguments")
        done.add(call.signature)
        if not {stem(part) for part in name_words(call.name)} & (goal_stems | synonyms(goal_stems)):
            yield Fault("check:writes", f"the goal does not ask for {call.name}, which worked")
        if (trial := simulated(call)) is not None and not _TRYING & goal_stems:
            yield Fault("check:writes", f"{call.name} was only tried, and the goal asks for it: “{trial}”")
        for key, value in call.args.items():
            if call.steers(key) or isinstance(value, bool) or not isinstance(value, int | float | str):
                continue
            if revealed(ground.knowledge, str(value), call) or _said_later(ground, str(value)):
                continue
            exact = number(str(value)) if isinstance(value, int | float) else None
            if exact is not None and exact not in goal_facts:
                yield Fault("check:writes", f"{call.name} was given {key}={value}, which the goal does not ask for")


def _parts(ground: Ground) -> Iterator[Fault]:
    """T: of several things, or of several deeds in an order, none is missing."""
    goal, writes = ground.candidate.goal, [call for call in ground.calls if call.ok and call.kind == "write"]
    deeds = [call for call in ground.calls if call.ok and call.kind != "read"]
    found = left_out(goal, writes), too_few(goal, writes, ground.calls), out_of_order(goal, deeds)
    for why in (*found, overwritten(goal, writes), undone(goal, writes)):
        if why is not None:
            yield Fault("check:writes", why)
    reads = [call for call in ground.calls if call.ok and call.kind == "read"]
    for why in (turned_round(goal, ground.calls), another_row(goal, writes, reads)):
        if why is not None:
            yield Fault("check:arguments", why)
    said = {mention.norm for mention in find_mentions(goal) if mention.kind == "number"}
    for call in writes:  # only figures: some tools give back the words of the record as it was before
        if (other := says_another(call)) is not None and number(str(call.args[other[0]])) in said:
            yield Fault("check:arguments", f"the result of {call.name} has another {other[0]}: {other[1]}"[:300])
    if (why := flag_unlike(goal, ground.selections)) is not None:
        yield Fault("check:constraint", why)


def _arguments(ground: Ground) -> Iterator[Fault]:
    """T: the goal does not name one thing where the calls that prove it were given another.

    An argument may go unsaid, and a goal may name what only a result shows; both at once, of one kind, is a swap.
    """
    goal = ground.candidate.goal
    served = set(ground.candidate.proposal.evidence)
    mentions = [each for each in find_mentions(goal) if each.norm not in CURRENCIES and each.start not in ground.proven]
    said = {each.norm for each in (*find_mentions(goal), *spelled(goal))}
    known = f" {fold(goal)} "
    given = [
        (call, key, each)
        for call in ground.calls
        if call.ok and (call.at in served or call.observed_at in served)
        for key, value in call.args.items()
        if not call.steers(key) and not revealed(ground.knowledge, str(value), call)
        for each in _whole_mention(value)
    ]
    goal_stems = set(content_words(goal))
    for call in ground.calls:
        for key, value in call.args.items() if call.ok and (call.at in served or call.observed_at in served) else ():
            asked = set(content_words(value)) if isinstance(value, str) and len(value) <= 80 else set()
            about = bool(_THINGS.intersection(name_words(key))) and not revealed(ground.knowledge, str(value), call)
            if about and asked and not asked & (goal_stems | synonyms(goal_stems)):
                yield Fault("check:arguments", f"{call.name} was about {key}={value!r}, which the goal does not name")
    own = {norm for call in ground.calls for norm in _own_values(ground, call)}
    for kinds in _SWAPPABLE:
        unsaid = [
            (call, key, each)
            for call, key, each in given
            if each.kind in kinds and each.norm not in said and f" {fold(each.text)} " not in known
        ]
        stray = [each for each in mentions if each.kind in kinds and each.norm not in own]
        if unsaid and stray:
            call, key, each = unsaid[0]
            yield Fault(
                "check:arguments", f"{call.name} was given {key}={each.text!r}, and the goal says “{stray[0].text}”"
            )


def _own_values(ground: Ground, call: Call) -> Iterator[str]:
    """The checkable words of the arguments that a call was given out of the agent's own knowledge."""
    for _, value in call.given:
        if not isinstance(value, bool) and not revealed(ground.knowledge, str(value), call):
            yield from (each.norm for each in find_mentions(str(value)[:4000]))
            yield fold(str(value)[:400])


_THINGS = frozenset(("item", "items", "product", "article", "sku", "goods", "material"))
_SWAPPABLE: tuple[frozenset[str], ...] = (
    frozenset(("number",)),
    frozenset(("id",)),
    frozenset(("name", "email", "url")),
)


def _whole_mention(value: object) -> tuple[Mention, ...]:
    """An argument as a mention, where it is one number, name or address and nothing else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ()
    text = str(value).strip()
    found = find_mentions(text) if len(text) <= 80 else ()
    return found if len(found) == 1 and found[0].text == text else ()


_TRYING = frozenset(stem(word) for word in TRYING)


def _said_later(ground: Ground, value: str) -> bool:
    """Whether the user told it in a later message, which the sample keeps."""
    first = ground.knowledge.first(value)
    return first is not None and first[1] == "told" and first[0] > (ground.case.view.goal_index or 0)


def _choice(ground: Ground) -> Iterator[Fault]:
    """C: no row that the run saw beats the one it chose, unless the goal itself says what counts."""
    said = compile_goal(ground.candidate.goal)
    if any(isinstance(each, Superlative) and evaluate(ground, each) is True for each in said):
        return
    limits = [each for each in said if isinstance(each, Bound)]
    for selection in ground.selections:
        if not any(call.kind == "write" for call in ground.calls if call.ok):
            continue
        meant = asked_rows(selection.peers, ground.candidate.goal)
        rivals = [row for row in meant if all(holds(limit, row) is not False for limit in limits)]
        columns = headline(selection.peers)
        if columns and any(better(row, selection.chosen, columns) for row in rivals):
            yield Fault("check:choice", f"the run saw a row that beats {selection.param}={selection.value!r}")
