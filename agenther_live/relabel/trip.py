"""What is kept of one trip through Algorithm 1: the analysis, every goal with its verdicts, the last refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from agenther_live.labels import Achieved, Analysis, Goal, Proven, Relabeling, Sample, Strategy, Verdict
from agenther_live.relabel.models import Extraction, Proposal
from agenther_live.relabel.reading.mentions import find_mentions
from agenther_live.trajectory import Stage, Trajectory

__all__ = ["Trip"]


class Trip:
    """The record of relabeling one trajectory, from which its `Relabeling` is made."""

    def __init__(self, trajectory: Trajectory, outcome_rev: int, lane: str = "") -> None:
        """Begin for a trajectory, or for a lane of it by its name, and the revision of its outcome."""
        self.trajectory = trajectory
        self.lane = lane
        self.outcome_rev = outcome_rev
        self.analysis: Analysis | None = None
        self.extraction = Extraction(())
        self.goals: list[Goal] = []
        self.samples: list[Sample] = []
        self.last = ("no_goal", "no goal was proposed")
        self.refused: list[tuple[str, str]] = []
        """Goal and reason of each proposal of the span at work that was refused: what the next one is told."""
        self.missed: tuple[str, ...] = ()
        """Parts of the failed goal that the run is known to have missed."""
        self.unsaid: frozenset[str] = frozenset()
        """What only other users said, in requests that were shown for their style: a text that has it is not kept."""

    def _kept(self, text: str) -> str:
        """A text, or nothing where it quotes another user, whose deletion would not find it here."""
        quotes = self.unsaid and any(mention.norm in self.unsaid for mention in find_mentions(text))
        return "" if quotes else text

    def goal(
        self,
        proposal: Proposal,
        attempt: int,
        reason: str,
        detail: str,
        *,
        strategy: Strategy = "final",
        verdicts: Sequence[Verdict] = (),
        confidence: float | None = None,
    ) -> Goal:
        """Keep a goal; `confidence` is that of relabeler and panel together where it was accepted."""
        run, text = self.trajectory, proposal.hindsight_goal
        parts: tuple[object, ...] = (run.trajectory_id, run.revision, self.outcome_rev, proposal.method, attempt, text)
        if strategy != "final":
            parts += (strategy, proposal.end)
        if self.lane:
            parts += (self.lane,)
        accepted = confidence is not None
        kept = str if accepted else self._kept  # what was accepted is the run's own, as the checks have shown
        goal = Goal(
            goal_id=hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32],
            trajectory_id=run.trajectory_id,
            strategy=strategy,
            hindsight_goal=kept(text),
            confidence=proposal.confidence if confidence is None else confidence,
            accepted=accepted,
            reason=reason,
            detail=self._kept(detail[:2000]),
            method=proposal.method,
            prompt_version=proposal.prompt_version,
            evidence=proposal.evidence,
            requirements=tuple(Proven(text=kept(each.text), messages=each.messages) for each in proposal.requirements),
            missed=tuple(part for part in dict.fromkeys((*self.missed, *proposal.missed)) if self._kept(part)),
            verdicts=tuple(verdicts),
            attempt=attempt,
        )
        self.goals = [each for each in self.goals if each.goal_id != goal.goal_id] + [goal]
        return goal

    def refuse(
        self,
        proposal: Proposal,
        attempt: int,
        reason: str,
        detail: str,
        *,
        strategy: Strategy = "final",
        verdicts: Sequence[Verdict] = (),
        told: str | None = None,
    ) -> None:
        """Keep a goal that was refused; `told` is how the next attempt hears of it."""
        self.goal(proposal, attempt, reason, detail, strategy=strategy, verdicts=verdicts)
        self.refused.append((proposal.hindsight_goal, told or detail))
        if strategy != "future":
            self.last = reason, detail

    def ends(self, stage: Stage, reason: str, detail: str, *, retry_after: float | None = None) -> Relabeling:
        """Close the record. The samples of one trajectory share its weight: each counts 1/n of it, n their number."""
        shared = [each.model_copy(update={"weight": each.weight / len(self.samples)}) for each in self.samples]
        if stage != "relabeled":
            shared = []
        return Relabeling(
            trajectory_id=self.trajectory.trajectory_id,
            stage=stage,
            reason=reason,
            detail=self._kept(detail[:2000]),
            analysis=self.analysis,
            goals=tuple(self.goals),
            sample=shared[0] if shared else None,
            more=tuple(shared[1:]),
            achievements=tuple(
                Achieved(
                    text=self._kept(each.text[:500]),
                    messages=each.messages,
                    kind="achievement" if each.write else "observation",
                )
                for each in self.extraction.achievements[:50]
            ),
            retry_after=retry_after,
        )
