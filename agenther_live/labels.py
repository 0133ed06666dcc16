"""What relabeling produces: analyses, hindsight goals with their verdicts, and training samples. Pure data."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from agenther_live.trajectory import Message, Record, Stage

FailureType = Literal["incomplete", "constraint_violation", "wrong_result", "tool_error", "hallucination", "off_topic"]
VerdictStatus = Literal["ok", "unanswered"]
SampleKind = Literal["hindsight", "success"]


class Analysis(Record):
    """Stage 1: what went wrong.

    `severity` v in [0, 1], 1 = worst; `weight` w = 1 − v = exp(−P / 2N) (paper, section on severity weighting;
    N = max(5, steps)). `critical_step` is the index of the step after which the goal was lost.
    """

    trajectory_id: str
    failure_type: FailureType
    severity: float
    weight: float
    recoverable: bool
    critical_step: int | None = None
    explanation: str = ""
    method: str = "rules"


class Verdict(Record):
    """One judge's answer about one goal. `status` 'unanswered' is never a yes and never a no."""

    judge: str
    is_valid: bool = False
    confidence: float = 0.0
    status: VerdictStatus = "ok"
    reason: str = ""
    prompt_version: str = ""


class Goal(Record):
    """Stage 3: a hindsight goal ĝ with the verdicts on it. `evidence` are indices into the trajectory's messages.

    `reason` is a word that statistics can count ('accepted', 'check:grounding', 'judge:veto', 'gate', …);
    `detail` says it in a sentence.
    """

    goal_id: str
    trajectory_id: str
    strategy: str = "final"
    hindsight_goal: str
    confidence: float = 0.0
    accepted: bool = False
    reason: str = ""
    detail: str = ""
    method: str = "template"
    evidence: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    attempt: int = 1


class TrainMessage(Record):
    """A message as it will be trained: the loss falls on it only where `train` is true, scaled by `weight`."""

    message: Message
    train: bool
    weight: float = 1.0


class Sample(Record):
    """The canonical training example from which every shard format is made.

    `sample_id` hashes trajectory, outcome revision, goal and form; `content_hash` hashes what is trained, and
    finds exact duplicates.
    """

    sample_id: str
    trajectory_id: str
    goal_id: str | None = None
    kind: SampleKind
    goal: str
    original_goal: str
    messages: tuple[TrainMessage, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    weight: float = 1.0
    severity: float = 0.0
    confidence: float | None = None
    failure_type: FailureType | None = None
    relabeler: str | None = None
    judges: tuple[str, ...] = ()
    evidence: tuple[int, ...] = ()
    agent: str = "agent"
    policy_version: str | None = None
    outcome_rev: int = 1
    content_hash: str = ""
    created_at: datetime | None = None


class Relabeling(Record):
    """The result of Algorithm 1 on one failed trajectory.

    `stage` is 'relabeled' (then `sample` is set), 'rejected' or 'errored'; `reason` is the counted word.
    """

    trajectory_id: str
    stage: Stage
    reason: str
    detail: str = ""
    analysis: Analysis | None = None
    goals: tuple[Goal, ...] = ()
    sample: Sample | None = None
    retry_after: float | None = None
