"""Algorithm 1 of AgentHER (arXiv 2603.21357), as this package runs it, in one function."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from agenther_live.errors import TransientModelError
from agenther_live.labels import Analysis, Goal, Relabeling, Verdict
from agenther_live.relabel.calls import view
from agenther_live.relabel.checks import refute
from agenther_live.relabel.demonstrate import demonstrate, hindsight_sample
from agenther_live.relabel.detect import RulesDetector
from agenther_live.relabel.extract import RulesExtractor
from agenther_live.relabel.models import (
    Candidate,
    Case,
    Detector,
    Extractor,
    Judge,
    Policy,
    Refused,
    Relabeler,
    Unanswered,
)
from agenther_live.trajectory import Outcome, Stage, Trajectory

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
) -> Relabeling:
    """Turn one failed run into a sample, or say why not.

    Returns a `Relabeling` of stage `relabeled` (with its sample), `rejected`, or `errored` (a model did not answer: try
    again later; what was paid for is kept).

    Raises:
        TerminalModelError: a model refuses for good (key, name, request); nothing else will work until that is mended.
        SpendCapReached: the day's budget is used up.
    """
    policy = policy or Policy()
    run = _Run(trajectory, outcome_rev)
    if outcome.label != "failure":
        return run.ends("rejected", "not_failed", f"the outcome is {outcome.label}: only failures are relabeled")
    seen = view(trajectory, policy.tool_kinds)
    try:
        # Stage 1: what went wrong, and is there anything to learn?
        run.analysis = await (detector or RulesDetector()).detect(trajectory, outcome, seen, policy)
        if not run.analysis.recoverable:
            return run.ends("rejected", "irrecoverable", run.analysis.explanation)
        if run.analysis.weight < policy.delta:
            return run.ends(
                "rejected",
                "severity",
                f"w = {run.analysis.weight:.2f} < δ = {policy.delta}: {run.analysis.explanation}",
            )
        if relabeler is None:
            return run.ends("rejected", "no_relabeler", "no relabeler is configured: captured and analysed only")
        if not judges:
            return run.ends("rejected", "no_judges", "the panel is empty, and an empty panel accepts nothing")

        # Stage 2: what was achieved?
        case = Case(trajectory, outcome, outcome_rev, seen, policy, run.analysis)
        case = replace(case, extraction=await (extractor or RulesExtractor()).extract(case))
        if not case.extraction.achievements:
            return run.ends("rejected", "no_achievement", "no result shows that anything was achieved")

        # Stage 3: up to K goals; the first that passes the gate θ, every check and every judge is the label.
        refused: list[tuple[str, str]] = []
        spare: list[tuple[int, Candidate]] = []
        for attempt in range(1, policy.max_attempts + 1):
            try:
                proposal = await relabeler.propose(case, attempt, refused)
            except Refused as why:
                if not run.goals:
                    run.last = why.reason, why.detail
                if why.reason != "relabeler:invalid":
                    break
                refused.append(("", why.detail))
                continue
            if not proposal.valid:
                run.refuse(
                    proposal.hindsight_goal,
                    proposal.method,
                    attempt,
                    proposal.confidence,
                    "relabeler:invalid",
                    proposal.rationale,
                )
                refused.append((proposal.hindsight_goal, proposal.rationale))
                continue
            try:
                candidate = demonstrate(case, proposal)
            except Refused as why:
                run.refuse(
                    proposal.hindsight_goal, proposal.method, attempt, proposal.confidence, why.reason, why.detail
                )
                refused.append((proposal.hindsight_goal, why.detail))
                continue
            fault = refute(case, candidate)
            if fault is not None:
                run.refuse(
                    candidate.goal,
                    proposal.method,
                    attempt,
                    proposal.confidence,
                    fault.reason,
                    fault.detail,
                    proposal.evidence,
                )
                refused.append((candidate.goal, fault.detail))
                continue
            if candidate.weight < policy.delta:
                run.refuse(
                    candidate.goal,
                    proposal.method,
                    attempt,
                    proposal.confidence,
                    "severity",
                    f"w = {candidate.weight:.2f} of the span kept",
                )
                refused.append((candidate.goal, "the span kept holds too many errors"))
                continue
            if proposal.confidence < policy.theta:
                run.refuse(
                    candidate.goal,
                    proposal.method,
                    attempt,
                    proposal.confidence,
                    "gate",
                    f"c = {proposal.confidence:.2f} < θ",
                    proposal.evidence,
                )
                refused.append((candidate.goal, "you were not sure enough yourself"))
                spare.append((attempt, candidate))
                continue
            done = await _panel(run, case, candidate, relabeler, judges, attempt, policy.theta)
            if done is not None:
                return done
            refused.append((candidate.goal, run.last[1]))

        # The paper's fallback, off by default: the surest goal that was valid but below θ, if every judge agrees.
        if policy.fallback_factor is not None and spare:
            attempt, candidate = max(spare, key=lambda each: each[1].proposal.confidence)
            if candidate.proposal.confidence >= policy.fallback_factor * policy.theta:
                done = await _panel(run, case, candidate, relabeler, judges, attempt, policy.theta)
                if done is not None:
                    return done
        return run.ends("rejected", *run.last)
    except Refused as why:
        return run.ends("rejected", why.reason, why.detail)
    except Unanswered as why:
        return run.ends("errored", "unanswered", str(why))
    except TransientModelError as why:
        return run.ends("errored", "model", str(why), retry_after=why.retry_after)


async def _panel(
    run: _Run,
    case: Case,
    candidate: Candidate,
    relabeler: Relabeler,
    judges: Sequence[Judge],
    attempt: int,
    theta: float,
) -> Relabeling | None:
    """Ask the judges in turn, the first no ends it. None: refused, and another goal may be tried."""
    proposal = candidate.proposal
    verdicts: list[Verdict] = []
    for judge in judges:
        verdict = await judge.judge(case, candidate)
        verdicts.append(verdict)
        if verdict.status != "ok":
            run.refuse(
                candidate.goal,
                proposal.method,
                attempt,
                proposal.confidence,
                "judge:unanswered",
                verdict.reason,
                proposal.evidence,
                verdicts,
            )
            return run.ends("errored", "unanswered", f"judge {verdict.judge}: {verdict.reason}")
        if not verdict.is_valid or verdict.confidence < theta:
            reason = "judge:gate" if verdict.is_valid else "judge:veto"
            run.refuse(
                candidate.goal,
                proposal.method,
                attempt,
                proposal.confidence,
                reason,
                f"{verdict.judge}: {verdict.reason}",
                proposal.evidence,
                verdicts,
            )
            return None
    confidence = fmean([proposal.confidence, *(verdict.confidence for verdict in verdicts)])
    goal = run.goal(
        candidate.goal,
        proposal.method,
        attempt,
        confidence,
        "accepted",
        proposal.rationale,
        proposal.evidence,
        verdicts,
        accepted=True,
    )
    sample = hindsight_sample(
        case,
        candidate,
        goal_id=goal.goal_id,
        confidence=confidence,
        relabeler=relabeler.name,
        judges=[judge.name for judge in judges],
    )
    return run.ends("relabeled", "accepted", goal.hindsight_goal, sample=sample)


class _Run:
    """What is kept of one trip through the algorithm: the analysis, every goal with its verdicts, the last refusal."""

    def __init__(self, trajectory: Trajectory, outcome_rev: int) -> None:
        self.trajectory = trajectory
        self.outcome_rev = outcome_rev
        self.analysis: Analysis | None = None
        self.goals: list[Goal] = []
        self.last = ("no_goal", "no goal was proposed")

    def goal(
        self,
        text: str,
        method: str,
        attempt: int,
        confidence: float,
        reason: str,
        detail: str,
        evidence: Sequence[int] = (),
        verdicts: Sequence[Verdict] = (),
        *,
        accepted: bool = False,
    ) -> Goal:
        parts = (self.trajectory.trajectory_id, self.trajectory.revision, self.outcome_rev, method, attempt, text)
        goal = Goal(
            goal_id=hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32],
            trajectory_id=self.trajectory.trajectory_id,
            hindsight_goal=text,
            confidence=confidence,
            accepted=accepted,
            reason=reason,
            detail=detail[:2000],
            method=method,
            evidence=tuple(evidence),
            verdicts=tuple(verdicts),
            attempt=attempt,
        )
        self.goals = [each for each in self.goals if each.goal_id != goal.goal_id] + [goal]
        return goal

    def refuse(
        self,
        text: str,
        method: str,
        attempt: int,
        confidence: float,
        reason: str,
        detail: str,
        evidence: Sequence[int] = (),
        verdicts: Sequence[Verdict] = (),
    ) -> None:
        self.last = reason, detail
        self.goal(text, method, attempt, confidence, reason, detail, evidence, verdicts)

    def ends(self, stage: Stage, reason: str, detail: str, **more: object) -> Relabeling:
        return Relabeling.model_validate(
            {
                "trajectory_id": self.trajectory.trajectory_id,
                "stage": stage,
                "reason": reason,
                "detail": detail[:2000],
                "analysis": self.analysis,
                "goals": tuple(self.goals),
                **more,
            }
        )
