"""What relabeling asks of the outside: a chat model, a relabeler, judges; and the values that pass between stages.

Protocols and plain data. Anything that has the right methods will do; nothing here opens a connection.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from agenther_live.errors import ModelError
from agenther_live.labels import Analysis, Strategy, TrainMessage, Verdict
from agenther_live.trajectory import Outcome, Trajectory

if TYPE_CHECKING:
    from agenther_live.relabel.reading.calls import ToolKind, View
    from agenther_live.settings import Settings

__all__ = [
    "Achievement",
    "Candidate",
    "Case",
    "ChatModel",
    "Detector",
    "Extraction",
    "Extractor",
    "Judge",
    "ModelReply",
    "ModelRequest",
    "Policy",
    "Proposal",
    "Purpose",
    "Refused",
    "Relabeler",
    "Requirement",
    "Unanswered",
    "UserGoal",
    "also_about",
    "showing_words_of",
]

Purpose = Literal["outcome", "detect", "extract", "relabel", "judge", "probe"]

also_about: ContextVar[tuple[str, ...]] = ContextVar("also_about", default=())
"""Other trajectories whose words a question holds, so that a deletion of theirs takes the reply along."""


@contextmanager
def showing_words_of(trajectory_ids: Iterable[str]) -> Iterator[None]:
    """Models are asked meanwhile with words of these other trajectories before them."""
    token = also_about.set((*also_about.get(), *trajectory_ids))
    try:
        yield
    finally:
        also_about.reset(token)


# --- the chat model ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a chat model.

    `key` is the hash of everything that decides the reply except the model: messages, schema, temperature and the
    number of the try. The same question therefore has the same key in every process and at every time.
    """

    purpose: Purpose
    messages: tuple[dict[str, str], ...]
    schema: Mapping[str, Any]
    schema_name: str
    temperature: float
    prompt_version: str
    key: str


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What came back, unparsed. `stored` is true where it was read from disk and cost nothing this time."""

    text: str
    finish_reason: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    stored: bool = False


@runtime_checkable
class ChatModel(Protocol):
    """A chat model. `name` says which one, for verdicts and costs ('openai:gpt-4o-mini')."""

    @property
    def name(self) -> str:
        """Which model this is."""
        ...

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Ask once.

        Raises:
            TransientModelError: worth another try later.
            TerminalModelError: no retry helps.
            SpendCapReached: the budget of the day is used up; nothing was asked.
        """
        ...


class Unanswered(ModelError):
    """A model replied, and the reply is no answer (not the JSON asked for, cut off, or with a wrong marker)."""


class Refused(Exception):
    """A step of relabeling cannot go on; `reason` is the counted word, the message says it in a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the counted word beside the sentence."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


# --- settings of the engine -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds of Algorithm 1, and what is known of the tools.

    `theta` is the confidence gate θ of relabeler and judges (paper: 0.5), `delta` the least weight δ (paper: 0.3),
    `max_attempts` K (paper: 3), `temperatures` those of the first and of every later attempt (paper: 0.3 and 0.7).
    `fallback_factor` is the paper's 0.8·θ fallback; None is off. `style_examples` of other users' requests are shown to
    the relabeler; `reuse_goals` looks for a user's goal first; `future_prefixes` goals for cut runs are sought beside
    the final one (0: none); `max_lanes` are relabeled of a run that is no one model's conversation. `tool_kinds`
    overrides, tool by tool, what the names suggest, `kinds_by_agent` does so for one agent. `marker_key` makes the
    markers of prompts: secret, so that no trajectory can guess one, and kept, so that the same question gives the same
    prompt and is paid once.
    """

    theta: float = 0.5
    delta: float = 0.3
    max_attempts: int = 3
    temperatures: tuple[float, float] = (0.3, 0.7)
    fallback_factor: float | None = None
    max_context_chars: int = 120_000
    style_examples: int = 3
    reuse_goals: bool = True
    future_prefixes: int = 0
    max_lanes: int = 8
    tool_kinds: Mapping[str, ToolKind] = field(default_factory=dict)
    kinds_by_agent: Mapping[str, Mapping[str, ToolKind]] = field(default_factory=dict)
    marker_key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def of_agent(self, agent: str) -> Policy:
        """Give the policy for the trajectories of one agent."""
        own = self.kinds_by_agent.get(agent)
        return replace(self, tool_kinds={**self.tool_kinds, **own}) if own else self

    @classmethod
    def of(cls, settings: Settings, *, marker_key: bytes | None = None) -> Policy:
        """Take the thresholds from the settings; `replies.marker_key(home)` gives a key that lasts."""
        return cls(
            theta=settings.theta,
            delta=settings.delta,
            max_attempts=settings.max_attempts,
            fallback_factor=settings.fallback_factor,
            max_context_chars=settings.max_context_chars,
            style_examples=settings.style_examples,
            reuse_goals=settings.reuse_goals,
            future_prefixes=settings.future_prefixes,
            max_lanes=settings.max_lanes,
            kinds_by_agent=settings.tool_kinds,
            marker_key=marker_key if marker_key is not None else secrets.token_bytes(16),
        )


# --- values that pass between the stages ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Achievement:
    """Something that the run did in fact, with the indices of the messages that prove it."""

    text: str
    messages: tuple[int, ...]
    write: bool = False


@dataclass(frozen=True, slots=True)
class Extraction:
    """Stage 2: what was achieved, and whether by rules or by a model."""

    achievements: tuple[Achievement, ...]
    method: str = "rules"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a goal asks for, and the indices of the messages that show it."""

    text: str
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UserGoal:
    """What a user of the same agent asked for in another thread; of the train split, so no held-out goal."""

    text: str
    trajectory_id: str


@dataclass(frozen=True, slots=True)
class Case:
    """One failed trajectory on its way through Algorithm 1; `view` holds its tool calls, parsed.

    `style` are a few requests of other users, for their manner alone; `strategy` 'future' says that the run was cut,
    'lane' that the trajectory is `lane` of a run that failed to reach `asked`: of what else its model was asked nobody
    said that it failed.
    `missed` are the parts of the failed goal that the run is known not to have reached.
    """

    trajectory: Trajectory
    outcome: Outcome
    outcome_rev: int
    view: View
    policy: Policy
    analysis: Analysis
    extraction: Extraction = Extraction(())
    style: tuple[UserGoal, ...] = ()
    strategy: Strategy = "final"
    missed: tuple[str, ...] = ()
    lane: str = ""
    asked: str = ""

    @property
    def failed_goal(self) -> str:
        """The goal that is known not to have been reached."""
        return self.asked or self.trajectory.goal


@dataclass(frozen=True, slots=True)
class Proposal:
    """Stage 3: a hindsight goal ĝ, the relabeler's own b (`valid`) and c (`confidence`), and what it rests on.

    `end` is the index behind the last message that the span keeps. `final_answer` is the last assistant message,
    written from the evidence; None leaves the sample without one. `achievements` are what a relabeler that extracts in
    the same call found, `missed` the parts of the failed goal that it says were not reached. `asked_in` is the
    trajectory whose user wrote this goal, where one did.
    """

    hindsight_goal: str
    confidence: float
    valid: bool
    end: int
    requirements: tuple[Requirement, ...]
    final_answer: str | None
    rationale: str = ""
    method: str = "template"
    prompt_version: str = ""
    achievements: tuple[Achievement, ...] = ()
    missed: tuple[str, ...] = ()
    asked_in: str | None = None

    @property
    def evidence(self) -> tuple[int, ...]:
        """The indices of all messages that prove a requirement, in order."""
        return tuple(sorted({index for requirement in self.requirements for index in requirement.messages}))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal together with the sample as it will be trained. This, and nothing less, is what judges see.

    `end` is the index behind the last message of the run that the sample keeps; a rewritten final answer follows it.
    """

    proposal: Proposal
    messages: tuple[TrainMessage, ...]
    end: int
    weight: float
    severity: float

    @property
    def goal(self) -> str:
        """The hindsight goal ĝ."""
        return self.proposal.hindsight_goal


# --- the stages as parts ----------------------------------------------------------------------------------------------


@runtime_checkable
class Detector(Protocol):
    """Stage 1. Raises `Unanswered` where a model gave no usable analysis."""

    @property
    def name(self) -> str:
        """Method, for the record."""
        ...

    async def detect(self, trajectory: Trajectory, outcome: Outcome, view: View, policy: Policy) -> Analysis:
        """Say what went wrong, how badly, and whether something can be learned from the run."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Stage 2. Raises `Unanswered` where a model gave no usable list."""

    @property
    def name(self) -> str:
        """Method, for the record."""
        ...

    async def extract(self, case: Case) -> Extraction:
        """List what the run achieved, with the messages that prove it."""
        ...


@runtime_checkable
class Relabeler(Protocol):
    """Stage 3. Raises `Unanswered` where a model gave no usable proposal, `Refused` where there is no goal to make."""

    @property
    def name(self) -> str:
        """Method, for the record."""
        ...

    async def propose(self, case: Case, attempt: int, refused: Sequence[tuple[str, str]]) -> Proposal:
        """Propose a goal. `attempt` counts from 1; `refused` holds each earlier goal with the reason it was refused."""
        ...


@runtime_checkable
class Judge(Protocol):
    """A member of the panel. One that gave no answer says so in `Verdict.status`; it never guesses."""

    @property
    def name(self) -> str:
        """Which judge this is."""
        ...

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        """Judge the sample as it will be trained."""
        ...
