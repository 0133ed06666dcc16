"""Relabelings as the engine gives them, built by hand for tests of the buffer."""

from typing import Any

from agenther_live.buffer.store import Claim
from agenther_live.ids import content_hash
from agenther_live.labels import Analysis, Goal, Relabeling, Sample, TrainMessage, Verdict
from agenther_live.trajectory import Message


def sample(claim: Claim, *, kind: str = "hindsight", goal: str = "Find bolts", content: str | None = None) -> Sample:
    trajectory = claim.trajectory
    asked = Message(role="user", content=goal)
    messages = (
        TrainMessage(message=asked, train=False),
        *(TrainMessage(message=m, train=m.role == "assistant") for m in trajectory.messages[1:]),
    )
    sample_id = content_hash([trajectory.trajectory_id, claim.outcome_rev, goal, kind])[:32]
    return Sample(
        sample_id=sample_id,
        trajectory_id=trajectory.trajectory_id,
        goal_id=f"g-{trajectory.trajectory_id}" if kind == "hindsight" else None,
        kind=kind,  # type: ignore[arg-type]
        goal=goal,
        original_goal=trajectory.goal,
        messages=messages,
        weight=0.9,
        outcome_rev=claim.outcome_rev,
        content_hash=content or content_hash([trajectory.trajectory_id, goal]),
    )


def relabeled(claim: Claim, **more: Any) -> Relabeling:
    """An accepted one: analysis, goal, verdict, sample."""
    key = claim.trajectory_id
    verdict = Verdict(judge="rules", is_valid=True, confidence=0.9, reason="holds", prompt_version="1")
    goal = Goal(
        goal_id=f"g-{key}", trajectory_id=key, hindsight_goal="Find bolts", confidence=0.8, accepted=True,
        reason="accepted", evidence=(2,), verdicts=(verdict,),
    )  # fmt: skip
    return Relabeling(
        trajectory_id=key,
        stage="relabeled",
        reason="accepted",
        analysis=analysis(key),
        goals=(goal,),
        sample=sample(claim, **more),
    )


def analysis(key: str, *, recoverable: bool = True) -> Analysis:
    return Analysis(trajectory_id=key, failure_type="incomplete", severity=0.1, weight=0.9, recoverable=recoverable)


def rejected(claim: Claim, reason: str = "not_recoverable") -> Relabeling:
    key = claim.trajectory_id
    return Relabeling(trajectory_id=key, stage="rejected", reason=reason, analysis=analysis(key, recoverable=False))


def errored(claim: Claim, retry_after: float | None = None) -> Relabeling:
    return Relabeling(trajectory_id=claim.trajectory_id, stage="errored", reason="judge_down", retry_after=retry_after)
