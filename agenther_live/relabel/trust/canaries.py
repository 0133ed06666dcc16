"""Canaries: goals that are known to be bad, made of real items of the stream and put to the same panel.

A canary is the sample as it would be trained, with another goal in its place: a foreign goal, a number or a name
swapped with one that the run's own evidence shows, a write left out, a limit put back that the run broke. It is used
only where the deterministic checks prove it false: then a judge that accepts it is wrong, whatever it thinks. The
failed goal itself is another matter: where no row proves it false, and the whole panel accepts it, not the judges but
the outcome is in doubt.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agenther_live.errors import ModelError, SpendCapReached
from agenther_live.ids import content_hash
from agenther_live.labels import Canary, CanaryKind, Relabeling, Verdict
from agenther_live.relabel.checks.checks import contradicts
from agenther_live.relabel.checks.predicates import Bound, compile_goal, phrase_start
from agenther_live.relabel.conducted import conducted
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.judges.judge import RulesJudge
from agenther_live.relabel.models import (
    Candidate,
    Case,
    Judge,
    Policy,
    Proposal,
    Refused,
    Requirement,
    UserGoal,
    showing_words_of,
)
from agenther_live.relabel.reading.calls import Call, View, name_words, view
from agenther_live.relabel.reading.lexicon import CURRENCIES, SYNONYMS
from agenther_live.relabel.reading.mentions import content_words, find_mentions, fold, number, stem
from agenther_live.trajectory import Outcome, Trajectory

__all__ = [
    "ENTITIES",
    "NUMBERS",
    "Probe",
    "Swap",
    "failed_goal",
    "make",
    "nearest",
    "put_back",
    "swapped",
    "without_write",
]

logger = logging.getLogger("agenther_live")

NUMBERS: tuple[str, ...] = ("number",)
ENTITIES: tuple[str, ...] = ("name", "id", "quoted", "email")
_TRIES = 8  # at a swap that the checks prove false: not every other number breaks a limit
_PROOFS = frozenset(("check:constraint", "check:choice", "check:arguments"))  # of the failed goal: rows say so


# --- the generators, which benchmarks/ground.py shares ----------------------------------------------------------------


def nearest(goal: str, others: Sequence[str]) -> str | None:
    """The other goal that shares most words with this one; one that says the same is no other goal."""
    mine = set(content_words(goal))

    def overlap(other: str) -> float:
        theirs = set(content_words(other))
        return len(mine & theirs) / max(1, len(mine | theirs))

    return max((other for other in others if fold(other) != fold(goal)), key=overlap, default=None)


@dataclass(frozen=True, slots=True)
class Swap:
    """A goal in which one mention was replaced: the new text, and what stands for what."""

    goal: str
    old: str
    new: str


def swapped(goal: str, seen: View, rng: random.Random, kinds: tuple[str, ...]) -> Swap | None:
    """The goal with one mention of these kinds replaced by another one that the run's own evidence shows."""
    mine = [mention for mention in find_mentions(goal) if mention.kind in kinds]
    evidence = "\n".join(
        text[:20_000] for call in seen.calls for text in (str(dict(call.args)), call.observation or "")
    )
    known = {mention.norm for mention in find_mentions(goal)} | CURRENCIES
    mine = [mention for mention in mine if mention.norm not in CURRENCIES]
    others = sorted(
        {
            mention.text.strip("'\"")
            for mention in find_mentions(evidence[:200_000])
            if mention.kind in kinds and mention.norm not in known and len(mention.text) <= 60
        }
    )
    if not mine or not others:
        return None
    old = rng.choice(mine)
    if old.kind == "number" and "." not in old.norm:
        others = [other for other in others if "." not in other] or others
    new = rng.choice(others)
    if old.kind == "number":
        if number(old.text) is None:
            return None
        if "." not in old.norm:
            new = new.removesuffix(".0")
        if old.text[:1] in "$€£" and new[:1] not in "$€£":
            new = old.text[0] + new
    return Swap(goal[: old.start] + new + goal[old.end :], old.text, new)


def without_write(goal: str, seen: View) -> str | None:
    """The goal without the clauses that speak of the last write that worked; None where little would be left."""
    writes = [call for call in seen.calls if call.ok and call.kind == "write"]
    if not writes:
        return None
    verbs = {stem(part) for part in name_words(writes[-1].name)}
    for group in SYNONYMS:
        stems = {stem(word) for word in group}
        verbs |= stems if stems & verbs else set()
    clauses = re.split(r"(?<=[.;!?,])\s+|\s+(?=and\b)", goal)
    kept = [clause for clause in clauses if not verbs & set(content_words(clause))]
    text = " ".join(kept)
    return text if len(kept) < len(clauses) and len(content_words(text)) >= 3 else None


def put_back(goal: str, failed_goal: str) -> str | None:
    """A hindsight goal with the limits of the failed goal in the user's own words; None where there are none."""
    limits = [each for each in compile_goal(failed_goal) if isinstance(each, Bound)]
    words = [failed_goal[phrase_start(failed_goal, each) : each.end].strip(" ,.") for each in limits]
    plain = goal
    for each in sorted((each for each in compile_goal(goal) if isinstance(each, Bound)), key=lambda b: -b.start):
        plain = plain[: phrase_start(plain, each)].rstrip(" ,") + plain[each.end :]
    return f"{plain.rstrip('.?! ')}, {', '.join(words)}." if words else None


# --- a canary of one item ---------------------------------------------------------------------------------------------


def make(case: Case, candidate: Candidate, others: Sequence[str]) -> tuple[CanaryKind, Candidate, bool] | None:
    """A known-bad twin of an item that the panel saw, and whether checks prove it false; None where none can be made.

    The same item and `others` (goals of other trajectories) always give the same one. Only the failed goal may come
    unproven, and it comes not where a person said that it failed.
    """
    rng = random.Random(content_hash([case.trajectory.trajectory_id, case.outcome_rev, candidate.goal]))
    kinds: list[CanaryKind] = ["foreign", "number", "entity", "write_left_out", "requirement_back", "failed_goal"]
    rng.shuffle(kinds)
    for kind in kinds:
        if kind == "failed_goal":
            # Whether a lane reached what it was asked says nothing of the run, nor the other way round.
            found = failed_goal(case) if case.outcome.source != "person" and not case.lane else None
            if found is not None:
                return kind, *found
            continue
        for goal, requirements in _goals(kind, case, candidate, others, rng):
            try:
                bad = demonstrate(
                    case, replace(candidate.proposal, hindsight_goal=goal, requirements=requirements, rationale="")
                )
            except Refused:
                continue
            if contradicts(case, bad) is not None:
                return kind, bad, True
    return None


def _goals(
    kind: CanaryKind, case: Case, candidate: Candidate, others: Sequence[str], rng: random.Random
) -> Iterator[tuple[str, tuple[Requirement, ...]]]:
    proposal, goal = candidate.proposal, candidate.goal
    if kind in ("number", "entity"):
        for _ in range(_TRIES):
            swap = swapped(goal, case.view, rng, NUMBERS if kind == "number" else ENTITIES)
            if swap is not None:  # what is claimed of it must not give it away
                told = (replace(each, text=each.text.replace(swap.old, swap.new)) for each in proposal.requirements)
                yield swap.goal, tuple(told)
        return
    text = {
        "foreign": lambda: nearest(goal, others),
        "write_left_out": lambda: without_write(goal, case.view),
        "requirement_back": lambda: put_back(goal, case.trajectory.goal),
    }[kind]()
    if text is not None:
        yield text, (Requirement(text, proposal.evidence),)


def failed_goal(case: Case) -> tuple[Candidate, bool] | None:
    """The run as a demonstration of the goal that it failed, and whether rows prove that it failed it."""
    shown = _shown(case.view.calls)
    if not shown:
        return None
    goal = case.trajectory.goal
    proposal = Proposal(goal, 1.0, True, max(shown) + 1, (Requirement(goal, shown),), case.trajectory.final_answer)
    try:
        candidate = demonstrate(case, proposal)
    except Refused:
        return None
    fault = contradicts(case, candidate)
    return candidate, fault is not None and fault.reason in _PROOFS


def _shown(calls: Sequence[Call]) -> tuple[int, ...]:
    return tuple(i for call in calls if call.ok for i in (call.at, call.observed_at) if i is not None)


# --- beside one relabeling --------------------------------------------------------------------------------------------


class Watched:
    """A judge that remembers what it was asked about; in all else it is the judge itself."""

    def __init__(self, judge: Judge) -> None:
        """Stand before `judge`."""
        self._judge = judge
        self.seen: list[tuple[Case, Candidate]] = []

    @property
    def name(self) -> str:
        """The judge's name."""
        return self._judge.name

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        """Remember, and ask."""
        self.seen.append((case, candidate))
        return await self._judge.judge(case, candidate)

    def __getattr__(self, name: str) -> object:
        """Whatever else the judge has."""
        return getattr(self._judge, name)


class Probe:
    """Asks the panel about canaries of one relabeling, once that is done.

    `judges` is the panel to relabel with. The judge `rules` is asked about none: a canary is what it refuses.
    """

    def __init__(self, judges: Sequence[Judge], *, chosen: bool, others: Sequence[UserGoal] = ()) -> None:
        """Watch a panel. `chosen`: make a canary of this item, if the panel sees one; `others`: goals of other runs."""
        self._asked = [judge for judge in judges if not isinstance(judge, RulesJudge)]
        self._others = others
        self._watched = Watched(judges[0]) if chosen and self._asked else None
        self.judges: Sequence[Judge] = [self._watched, *judges[1:]] if self._watched is not None else judges

    async def closed(
        self, trajectory: Trajectory, outcome: Outcome, outcome_rev: int, policy: Policy, relabeling: Relabeling
    ) -> Relabeling:
        """Give the relabeling with its canaries, each judged by every judge.

        Where a model does not answer there is no canary this time: the relabeling itself stands.
        """
        made: list[Canary] = []
        try:
            if self._watched is not None and self._watched.seen:
                case, candidate = self._watched.seen[-1]
                found = make(case, candidate, [other.text for other in self._others])
                if found is not None:
                    made.append(await self._judged(case, *found))
            known = any(each.kind == "failed_goal" for each in made)
            if not known and self._asked and _claimed(relabeling, trajectory.goal, outcome):
                policy = policy.of_agent(trajectory.agent)
                trajectory = conducted(trajectory)
                seen = view(trajectory, policy.tool_kinds)
                assert relabeling.analysis is not None, "a goal was proposed, so the run was analysed"
                case = Case(trajectory, outcome, outcome_rev, seen, policy, relabeling.analysis)
                old = failed_goal(case)
                if old is not None:
                    made.append(await self._judged(case, "failed_goal", *old))
        except (Refused, ModelError, SpendCapReached) as why:
            logger.info("no canary of trajectory %s: %s", trajectory.trajectory_id, why)
        except Exception:  # a judge of the user's own may raise anything; what was relabeled stands
            logger.exception("no canary of trajectory %s", trajectory.trajectory_id)
        return relabeling.model_copy(update={"canaries": (*relabeling.canaries, *made)}) if made else relabeling

    async def _judged(self, case: Case, kind: CanaryKind, candidate: Candidate, proven: bool) -> Canary:
        # A judge may quote the foreign goal: its reply belongs to both runs, and goes when either of them is deleted.
        theirs = (other.trajectory_id for other in self._others if kind == "foreign" and other.text == candidate.goal)
        with showing_words_of(theirs):
            verdicts = [await judge.judge(case, candidate) for judge in self._asked]
        key = [case.trajectory.trajectory_id, case.trajectory.revision, case.outcome_rev, kind, candidate.goal]
        return Canary(
            canary_id=content_hash(key)[:32],
            trajectory_id=case.trajectory.trajectory_id,
            kind=kind,
            goal=candidate.goal,
            proven=proven,
            theta=case.policy.theta,
            verdicts=tuple(verdicts),
        )


def _claimed(relabeling: Relabeling, goal: str, outcome: Outcome) -> bool:
    """Whether the relabeler itself says that the run reached the failed goal; a person's word leaves nothing to ask."""
    return outcome.source != "person" and any(
        fold(each.hindsight_goal) == fold(goal) and each.method != "template" and each.strategy != "lane"
        for each in relabeling.goals
    )
