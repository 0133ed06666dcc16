"""The domain's nouns: messages, steps, runs, trajectories, outcomes, and the tables of moves.

Pure data, no I/O. Messages keep the OpenAI chat form word for word: whatever keys a message came with
come out again from `Message.wire()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agenther_live.clock import naive
from agenther_live.errors import MoveRefused

Status = Literal["open", "interrupted", "finished", "error", "cancelled", "abandoned"]
Label = Literal["success", "failure", "unknown"]
Stage = Literal["waiting", "queued", "passed", "relabeled", "rejected", "errored"]
SampleState = Literal["pending", "emitted", "retracted", "withdrawn"]
EvidenceSource = Literal["person", "reward", "evaluator", "judge", "terminal"]

# A state's possible successors. The buffer refuses every other move.
STATUS_MOVES: Mapping[Status, frozenset[Status]] = {
    "open": frozenset({"interrupted", "finished", "error", "cancelled", "abandoned"}),
    "interrupted": frozenset({"open", "abandoned"}),
    "error": frozenset({"open"}),
    "cancelled": frozenset({"open"}),
    "abandoned": frozenset({"open"}),
    "finished": frozenset(),
}
# `waiting` is reachable from every stage: a changed outcome or revision starts the work over.
STAGE_MOVES: Mapping[Stage, frozenset[Stage]] = {
    "waiting": frozenset({"queued", "passed"}),
    "queued": frozenset({"relabeled", "rejected", "errored", "waiting"}),
    "errored": frozenset({"queued", "waiting"}),
    "passed": frozenset({"waiting"}),
    "relabeled": frozenset({"waiting"}),
    "rejected": frozenset({"waiting"}),
}
SAMPLE_MOVES: Mapping[SampleState, frozenset[SampleState]] = {
    "pending": frozenset({"emitted", "withdrawn"}),
    "emitted": frozenset({"retracted"}),
    "retracted": frozenset(),
    "withdrawn": frozenset(),
}


Moment = Annotated[datetime, AfterValidator(naive)]
"""A naive UTC time. One with a zone is turned into that: else it could be compared with no other."""

S = TypeVar("S", bound=str)


def check_move(table: Mapping[S, frozenset[S]], old: S, new: S, what: str) -> None:
    """Raise `MoveRefused` unless `table` allows the move `old → new`; `what` names the row."""
    if new not in table[old]:
        allowed = ", ".join(sorted(table[old])) or "nothing"
        raise MoveRefused(f"{what}: {old} → {new} is not allowed (from {old}: {allowed})")


class Record(BaseModel):
    """Base of the package's immutable value types: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Verbatim(BaseModel):
    """Base of foreign records: unknown keys are kept, and `wire()` gives back what came in."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def wire(self) -> dict[str, Any]:
        """Give the record as a JSON-ready dict with exactly the keys it was made with."""
        return self.model_dump(mode="json", exclude_unset=True)


class FunctionCall(Verbatim):
    """The function part of a tool call; `arguments` is JSON text (OpenAI's form) or an object, as it came."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCall(Verbatim):
    """One tool call of an assistant message. Ids may be missing and may repeat in foreign data."""

    id: str | None = None
    type: str = "function"
    function: FunctionCall


class Message(Verbatim):
    """One chat message in OpenAI's form, lossless.

    `content` is text, a list of content parts, or None. See
    https://platform.openai.com/docs/api-reference/chat/create.
    """

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The text of the content; parts that are no text are left out."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content or []
        return "".join(str(part.get("text", "")) for part in parts if part.get("type") in ("text", "output_text"))


class Action(Record):
    """One tool call and what came back.

    `input` is the arguments as JSON text (or the text command of a text agent); `observation` is None where
    nothing came back; `observation_index` points into the message list that the step belongs to.
    """

    name: str
    input: str = ""
    observation: str | None = None
    is_error: bool = False
    call_id: str | None = None
    observation_index: int | None = None
    attempts: int = 1


class Step(Record):
    """One turn of an agent: a thought, its actions and their observations.

    `agent_path` is '' for the root agent, else the path of a nested one ('task/researcher'). `message_index`
    points to the assistant's message in `Trajectory.messages` ('' path) or `Trajectory.nested[agent_path]`.
    """

    idx: int
    thought: str = ""
    actions: tuple[Action, ...] = ()
    agent_path: str = ""
    message_index: int | None = None
    node: str | None = None
    model: str | None = None
    at: Moment | None = None


class Run(Record):
    """One LangGraph root run (or one imported record). Times are naive UTC; `tools_version` names the tool schemas."""

    root_key: str
    run_id: str | None = None
    policy_version: str | None = None
    status: Status
    started_at: Moment | None = None
    finished_at: Moment | None = None
    error_type: str | None = None
    error_message: str | None = None
    models: tuple[str, ...] = ()
    tools_version: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Lane(Record):
    """What one model was shown and said in a run: each call was shown all that the one before was, and its reply.

    `messages` are places in `Seen.messages`: the prompt of the last of these calls, and its reply. `steps` are what
    this model said; their indices of messages are places in this lane, their `idx` those of the run's steps. There are
    none where calls ran otherwise than they were written. `path` is where it was asked: a nested agent's path, else the
    node's name. `tools` is a place in `Seen.toolsets`.
    """

    path: str
    messages: tuple[int, ...]
    steps: tuple[Step, ...] = ()
    tools: int | None = None


class Seen(Record):
    """The lanes of a run whose models were asked apart from each other; each message is kept once.

    `spliced` are the paths of nested conversations that no model saw as they stand in `Trajectory.nested`.
    """

    messages: tuple[Message, ...] = ()
    toolsets: tuple[tuple[dict[str, Any], ...], ...] = ()
    lanes: tuple[Lane, ...] = ()
    spliced: tuple[str, ...] = ()


NOT_AS_SEEN = frozenset(("truncated", "partial", "partial_tree", "spliced"))
"""Flags of a run whose conversation, as it stands, no model saw: nothing is trained on it."""


class Trajectory(Record):
    """One logical task: goal, every step, final answer; it may span several runs.

    `messages` is the root agent's conversation; `messages[:context_len]` is what stood there before this
    turn (system prompt, earlier turns) and is never trained on. `nested` holds the conversations of
    sub-agents by path, `nested_tools` what they could call. `flags` marks what was cut or is uncertain
    ('truncated', 'partial_tree', …). `evaluators` names those of its attachment, where several attachments bear the
    agent's name; None: those of the agent's name.
    `seen` holds what each model was shown where no conversation above is one that a model with tools saw, or where this
    is so of a nested agent.
    """

    trajectory_id: str
    agent: str = "agent"
    thread_id: str | None = None
    goal: str = ""
    final_answer: str | None = None
    status: Status = "finished"
    messages: tuple[Message, ...] = ()
    context_len: int = 0
    nested: dict[str, tuple[Message, ...]] = Field(default_factory=dict)
    nested_tools: dict[str, tuple[dict[str, Any], ...]] = Field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] | None = None
    steps: tuple[Step, ...] = ()
    runs: tuple[Run, ...] = ()
    policy_version: str | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    error_type: str | None = None
    error_message: str | None = None
    source: str = "live"
    subject: str | None = None
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()
    evaluators: tuple[str, ...] | None = None
    seen: Seen | None = None
    revision: int = 1

    @property
    def root_steps(self) -> tuple[Step, ...]:
        """The steps of the root agent alone."""
        return tuple(step for step in self.steps if not step.agent_path)


class Outcome(Record):
    """Whether the goal was reached, and who says so."""

    label: Label = "unknown"
    reward: float | None = None
    source: EvidenceSource | None = None
    reason: str | None = None


class Evidence(Record):
    """One append-only statement about a trajectory's outcome.

    `success` None with a `score` is judged by the threshold in force; `at` is naive UTC. `ambiguous` evidence
    is kept, and never decides.
    """

    evidence_id: str
    trajectory_id: str | None = None
    run_id: str | None = None
    thread_id: str | None = None
    source: EvidenceSource
    key: str = "success"
    success: bool | None = None
    score: float | None = None
    value: str | None = None
    comment: str | None = None
    at: Moment
    ambiguous: bool = False
