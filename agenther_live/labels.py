"""What relabeling produces: analyses, hindsight goals with their verdicts, and training samples. Pure data."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from agenther_live.trajectory import Message, Record, Stage

FailureType = Literal["incomplete", "constraint_violation", "wrong_result", "tool_error", "hallucination", "off_topic"]
VerdictStatus = Literal["ok", "unanswered"]
SampleKind = Literal["hindsight", "success", "contrast", "failure", "pair", "step"]
"""What a sample is: a demonstration (hindsight, success), or what preference formats are made of: the two goals of one
run (contrast), a failed run under its own goal (failure), two runs for one prompt (pair), their first different turn
(step)."""
Strategy = Literal["final", "future", "lane"]
"""What a goal is about: the whole run, a run that was cut (future), or what one of its models saw and said (lane)."""
CanaryKind = Literal["foreign", "number", "entity", "write_left_out", "requirement_back", "failed_goal"]


class Analysis(Record):
    """Stage 1: what went wrong.

    `severity` v in [0, 1], 1 = worst; `weight` w = 1 − v = exp(−P / 2N) (paper, section on severity weighting;
    N = max(5, steps)). `critical_step` is the index of the first step after which the goal was lost,
    `critical_evidence` are the indices of the messages that show it. `missed` are parts of the goal that a model says
    were not reached, `errors` what it holds to be wrong whatever the goal (message and level); None: nobody was asked.
    """

    trajectory_id: str
    failure_type: FailureType
    severity: float
    weight: float
    recoverable: bool
    critical_step: int | None = None
    critical_evidence: tuple[int, ...] = ()
    explanation: str = ""
    method: str = "rules"
    missed: tuple[str, ...] = ()
    errors: tuple[tuple[int, Literal["minor", "major", "critical"]], ...] | None = None


class Verdict(Record):
    """One judge's answer about one goal. `status` 'unanswered' is never a yes and never a no."""

    judge: str
    is_valid: bool = False
    confidence: float = 0.0
    status: VerdictStatus = "ok"
    reason: str = ""
    prompt_version: str = ""


class Proven(Record):
    """A sentence, with the indices of the messages that prove it."""

    text: str
    messages: tuple[int, ...] = ()


class Achieved(Proven):
    """What stage 2 found: an achievement, which a call that changes something proves, or an observation."""

    kind: Literal["achievement", "observation"] = "achievement"


class Goal(Record):
    """Stage 3: a hindsight goal ĝ with the verdicts on it. `evidence` are indices into the trajectory's messages.

    `reason` is a word that statistics can count ('accepted', 'check:grounding', 'judge:veto', 'gate', …);
    `detail` says it in a sentence. `requirements` is T as a checklist: each requirement with the messages that prove
    it. `missed` are the parts of the failed goal that are known not to have been reached: it asks for none of them.
    """

    goal_id: str
    trajectory_id: str
    strategy: Strategy = "final"
    hindsight_goal: str
    confidence: float = 0.0
    accepted: bool = False
    reason: str = ""
    detail: str = ""
    method: str = "template"
    evidence: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    attempt: int = 1
    prompt_version: str = ""
    requirements: tuple[Proven, ...] = ()
    missed: tuple[str, ...] = ()


class Canary(Record):
    """A goal that is known to be bad, and what each judge said of it; never a sample.

    `proven`: the deterministic checks show it to be false; only the failed goal itself may be unproven. A judge
    accepts it that calls it valid with a confidence of at least `theta`.
    """

    canary_id: str
    trajectory_id: str
    kind: CanaryKind
    goal: str
    proven: bool
    theta: float
    verdicts: tuple[Verdict, ...]

    def accepted_by(self, verdict: Verdict) -> bool:
        """Whether this verdict accepts it."""
        return verdict.status == "ok" and verdict.is_valid and verdict.confidence >= self.theta

    @property
    def disputes(self) -> bool:
        """Whether the outcome is in doubt: nothing proves that the goal failed, and every judge says it was met."""
        known = self.kind != "failed_goal" or self.proven
        return not known and bool(self.verdicts) and all(map(self.accepted_by, self.verdicts))


class TrainMessage(Record):
    """A message as it will be trained: the loss falls on it only where `train` is true, scaled by `weight`.

    `rewritten` marks an answer that was written from the evidence, and stands for none of the agent's own words.
    """

    message: Message
    train: bool
    weight: float = 1.0
    rewritten: bool = False


class Sample(Record):
    """The canonical training example from which every shard format is made.

    `sample_id` hashes trajectory, outcome revision, goal and form; `content_hash` hashes what is trained, and
    finds exact duplicates. `strategy` says what of the run it shows; `writes` says whether it
    trains a call that changes something.

    A pair or step has its prompt in `messages[:prompt_len]` and the better response behind it; `rejected` is the worse
    response to the same prompt, by the run of `rejected_trajectory_id`. `sources` are the samples it was made of.
    """

    sample_id: str
    trajectory_id: str
    goal_id: str | None = None
    kind: SampleKind
    strategy: Strategy = "final"
    writes: bool | None = None
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
    prompt_len: int | None = None
    rejected: tuple[TrainMessage, ...] = ()
    rejected_trajectory_id: str | None = None
    sources: tuple[str, ...] = ()


class Relabeling(Record):
    """The result of Algorithm 1 on one failed trajectory.

    `stage` is 'relabeled' (then `sample` is set), 'rejected' or 'errored'; `reason` is the counted word. `more` holds
    further samples: of cut runs (strategy `future`), of lanes (`lane`); `achievements` what stage 2 found.
    `lanes_left_out` counts lanes beyond the setting `max_lanes`, which nobody looked at.
    """

    trajectory_id: str
    stage: Stage
    reason: str
    detail: str = ""
    analysis: Analysis | None = None
    goals: tuple[Goal, ...] = ()
    canaries: tuple[Canary, ...] = ()
    sample: Sample | None = None
    more: tuple[Sample, ...] = ()
    achievements: tuple[Achieved, ...] = ()
    lanes_left_out: int = 0
    retry_after: float | None = None
