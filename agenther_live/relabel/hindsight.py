"""Algorithm 1 of AgentHER (arXiv 2603.21357), as this package runs it, in one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from agenther_live.errors import TransientModelError
from agenther_live.labels import Relabeling, Verdict
from agenther_live.relabel.borrowed import borrowed, style_of, theirs_alone
from agenther_live.relabel.checks.checks import refute
from agenther_live.relabel.checks.missed import known
from agenther_live.relabel.conducted import conducted, moved
from agenther_live.relabel.demonstrate import demonstrate, hindsight_sample
from agenther_live.relabel.detect import RulesDetector
from agenther_live.relabel.extract import RulesExtractor
from agenther_live.relabel.judges.judge import RulesJudge
from agenther_live.relabel.lanes import parts, together
from agenther_live.relabel.mended import mended
from agenther_live.relabel.models import (
    Candidate,
    Case,
    Detector,
    Extraction,
    Extractor,
    Judge,
    Policy,
    Proposal,
    Refused,
    Relabeler,
    Unanswered,
    UserGoal,
    showing_words_of,
)
from agenther_live.relabel.prefixes import prefixes
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.trip import Trip
from agenther_live.trajectory import Outcome, Trajectory

__all__ = ["relabel"]


async def relabel(
    trajectory: Trajectory,
    outcome: Outcome,
    outcome_rev: int,
    *,
    relabeler: Relabeler | None,
    judges: Sequence[Judge],
    detector: Detector | None = None,
    extractor: Extractor | None = None,
    policy: Policy | None = None,
    others: Sequence[UserGoal] = (),
) -> Relabeling:
    """Turn one failed run into a sample, or say why not.

    Where no conversation of the whole run is one that a model saw, its lanes are relabeled instead, each by itself.

    `others` are goals of other users of the same agent: one that this run in fact reached is the first choice, and a
    few show the relabeler how users write. Half a character in any text, in what comes in or in what a part gives, is
    U+FFFD in all that is made of it.

    Returns a `Relabeling` of stage `relabeled` (with its sample), `rejected`, or `errored` (a model did not answer: try
    again later; what was paid for is kept).

    Raises:
        TerminalModelError: a model refuses for good (key, name, request); nothing else will work until that is mended.
        SpendCapReached: the day's budget is used up.
    """
    trajectory, outcome, others = mended(trajectory), mended(outcome), mended(tuple(others))
    policy = (policy or Policy()).of_agent(trajectory.agent)
    detector = detector or RulesDetector()
    if apart := parts(trajectory):
        found = []
        for part in apart[: policy.max_lanes]:
            made = await _relabel(
                part.run, outcome, outcome_rev, relabeler, judges, detector, extractor, policy, others,
                lane=part.name, asked=trajectory.goal,
            )  # fmt: skip
            found.append((part, made))
        return mended(together(trajectory, found, left_out=max(0, len(apart) - policy.max_lanes)))
    run = conducted(trajectory)
    whole = await _relabel(run, outcome, outcome_rev, relabeler, judges, detector, extractor, policy, others)
    return mended(moved(whole, len(trajectory.messages) - len(run.messages)))


async def _relabel(
    trajectory: Trajectory,
    outcome: Outcome,
    outcome_rev: int,
    relabeler: Relabeler | None,
    judges: Sequence[Judge],
    detector: Detector,
    extractor: Extractor | None,
    policy: Policy,
    others: Sequence[UserGoal],
    *,
    lane: str = "",
    asked: str = "",
) -> Relabeling:
    trip = Trip(trajectory, outcome_rev, lane)
    if outcome.label != "failure":
        return trip.ends("rejected", "not_failed", f"the outcome is {outcome.label}: only failures are relabeled")
    seen = view(trajectory, policy.tool_kinds)
    try:
        # Stage 1: what went wrong, and is there anything to learn?
        trip.analysis = found = await detector.detect(trajectory, outcome, seen, policy)
        if not found.recoverable:
            return trip.ends("rejected", "irrecoverable", found.explanation)
        if found.weight < policy.delta:
            why = f"w = {found.weight:.2f} < δ = {policy.delta}: {found.explanation}"
            return trip.ends("rejected", "severity", why)
        if relabeler is None:
            return trip.ends("rejected", "no_relabeler", "no relabeler is configured: captured and analysed only")
        if not judges:
            return trip.ends("rejected", "no_judges", "the panel is empty, and an empty panel accepts nothing")

        # Stage 2: what was achieved?
        case = Case(trajectory, outcome, outcome_rev, seen, policy, found, style=style_of(trajectory, others, policy))
        if lane:
            case = replace(case, strategy="lane", lane=lane, asked=asked)
        trip.unsaid, trip.missed = theirs_alone(seen, case.style), known(case)
        case = replace(case, missed=trip.missed)
        trip.extraction = await (extractor or RulesExtractor()).extract(case)
        case = replace(case, extraction=trip.extraction)
        if not case.extraction.achievements:
            return trip.ends("rejected", "no_achievement", "no result shows that anything was achieved")

        # Stage 3: a real user's goal that the run reached, else up to K goals of the relabeler's.
        court = _Court(trip, relabeler, judges, policy)
        for proposal in borrowed(case, others):
            with showing_words_of([proposal.asked_in] if proposal.asked_in else ()):
                accepted = await court.accepts(case, proposal, 0)
            if accepted:
                break
        if trip.samples or await _propose(court, case):
            # The strategy `future`, off by default. Rules cannot tell whether one would stop there: a model must.
            if not lane and any(judge.name != RulesJudge.name for judge in judges):
                for cut in prefixes(case, trip.samples[0]):
                    await _propose(court, cut)
            return trip.ends("relabeled", "accepted", trip.samples[0].goal)
        return trip.ends("rejected", *trip.last)
    except Refused as why:
        return trip.ends("rejected", why.reason, why.detail)
    except Unanswered as why:
        return trip.ends("errored", "unanswered", str(why))
    except TransientModelError as why:
        return trip.ends("errored", "model", str(why), retry_after=why.retry_after)


async def _propose(court: _Court, case: Case) -> bool:
    """Up to K goals for a span; the first that passes the gate θ, every check and every judge is the label."""
    trip, policy = court.trip, case.policy
    court.spare.clear()
    if case.strategy == "future":
        trip.refused.clear()
    for attempt in range(1, policy.max_attempts + 1):
        try:
            proposal = mended(await court.relabeler.propose(case, attempt, trip.refused))
        except Refused as why:
            if not trip.goals:
                trip.last = why.reason, why.detail
            if why.reason != "relabeler:invalid":
                break
            trip.refused.append(("", why.detail))
            continue
        if proposal.achievements and case.extraction.method == RulesExtractor.name:  # extracted in the same call
            trip.extraction = Extraction(proposal.achievements, method=proposal.method)
        if not proposal.valid:
            trip.refuse(proposal, attempt, "relabeler:invalid", proposal.rationale, strategy=case.strategy)
        elif await court.accepts(case, proposal, attempt):
            return True
    # The paper's fallback, off by default: the surest goal that was valid but below θ, if every judge agrees.
    if policy.fallback_factor is not None and court.spare:
        attempt, candidate = max(court.spare, key=lambda each: each[1].proposal.confidence)
        if candidate.proposal.confidence >= policy.fallback_factor * policy.theta:
            return await court.panel(case, candidate, attempt)
    return False


@dataclass
class _Court:
    """Who decides about a proposal: the checks, the gate θ, and the panel."""

    trip: Trip
    relabeler: Relabeler
    judges: Sequence[Judge]
    policy: Policy

    def __post_init__(self) -> None:
        self.spare: list[tuple[int, Candidate]] = []

    async def accepts(self, case: Case, proposal: Proposal, attempt: int) -> bool:
        """Demonstrate, refute, weigh, gate, and ask the panel; a refusal is kept with its reason."""
        trip, strategy = self.trip, case.strategy
        if strategy == "future":
            proposal = replace(proposal, final_answer=None)
        try:
            candidate = demonstrate(case, proposal)
        except Refused as why:
            trip.refuse(proposal, attempt, why.reason, why.detail, strategy=strategy)
            return False
        proposal = candidate.proposal
        fault = refute(case, candidate)
        if fault is not None:
            trip.refuse(proposal, attempt, fault.reason, fault.detail, strategy=strategy)
        elif candidate.weight < self.policy.delta:
            why_not = f"w = {candidate.weight:.2f} of the span kept"
            told = "the span kept holds too many errors"
            trip.refuse(proposal, attempt, "severity", why_not, strategy=strategy, told=told)
        elif proposal.confidence < self.policy.theta:
            told = "you were not sure enough yourself"
            trip.refuse(proposal, attempt, "gate", f"c = {proposal.confidence:.2f} < θ", strategy=strategy, told=told)
            self.spare.append((attempt, candidate))
        else:
            return await self.panel(case, candidate, attempt)
        return False

    async def panel(self, case: Case, candidate: Candidate, attempt: int) -> bool:
        """Ask the judges in turn; the first no ends it, and another goal may be tried.

        Raises:
            Unanswered: a judge gave no answer, which is neither a yes nor a no.
        """
        trip, proposal, verdicts = self.trip, candidate.proposal, list[Verdict]()
        for judge in self.judges:
            verdict = await judge.judge(case, candidate)
            verdicts.append(verdict)
            if verdict.status == "ok" and verdict.is_valid and verdict.confidence >= self.policy.theta:
                continue
            answered = verdict.status == "ok"
            reason = "judge:unanswered" if not answered else "judge:gate" if verdict.is_valid else "judge:veto"
            why = verdict.reason if not answered else f"{verdict.judge}: {verdict.reason}"
            trip.refuse(proposal, attempt, reason, why, strategy=case.strategy, verdicts=verdicts)
            if not answered:
                raise Unanswered(f"judge {verdict.judge}: {verdict.reason}")
            return False
        confidence = fmean([proposal.confidence, *(verdict.confidence for verdict in verdicts)])
        goal = trip.goal(
            proposal,
            attempt,
            "accepted",
            proposal.rationale,
            strategy=case.strategy,
            verdicts=verdicts,
            confidence=confidence,
        )
        sample = hindsight_sample(
            case,
            candidate,
            goal_id=goal.goal_id,
            confidence=confidence,
            relabeler=proposal.method,
            judges=[judge.name for judge in self.judges],
        )
        trip.samples.append(sample)
        return True
