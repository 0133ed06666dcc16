"""The facts of runs: what capture writes, what travels through the journal, and what `assemble` reads.

A record is a JSON object: `k` its kind, `r` the root_key of its run, `at` epoch seconds. The boundary kinds
(`start`, `interrupt`, `end`) are known to journal and ingest; `f` records are opaque to both and hold a list of
items, the facts proper. Items are deltas: a message is written once and then named by its number, an input of a
model call is what was added to the input of an earlier call. Numbers are unique within a run and mean nothing
outside of it.

A record with `r` that stands behind the run's `end` is a late fact (a tool that went on after the run was
cancelled, say): the trajectory is then assembled anew.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Literal, NotRequired, TypedDict

__all__ = ["End", "Facts", "Interrupt", "Item", "Start", "current_trajectory"]

current_trajectory: ContextVar[tuple[str, str | None] | None] = ContextVar("agenther_trajectory", default=None)
"""(trajectory_id, goal) of the `with live.trajectory(…)` block around a run, read when the run starts."""


class Start(TypedDict):
    """A run began.

    `input` is the numbers of the messages that the caller sent; `input_text` renders the rest of the input (or all
    of it, where the state holds no messages). `resume` runs carry `checkpoint_id`, the checkpoint that they go on
    from, and `answer`, what the interrupt was answered with. `partial` marks a run below a run that was not seen.
    `evaluators` names those of the attachment, where another one bears the same name and has others.
    """

    k: Literal["start"]
    r: str
    at: float
    run_id: str
    agent: str
    thread_id: str | None
    policy_version: str | None
    tags: list[str]
    metadata: dict[str, Any]
    input: list[int]
    input_text: str | None
    resume: bool
    checkpoint_id: str | None
    trajectory_id: str | None
    goal: str | None
    subject: str | None
    tenant: str | None
    new_input: bool
    conversational: bool | None
    partial: NotRequired[bool]
    evaluators: NotRequired[list[str]]
    answer: NotRequired[Any]


class Interrupt(TypedDict):
    """A run stopped to wait; `values` are what the interrupts handed out (empty at static breakpoints)."""

    k: Literal["interrupt"]
    r: str
    at: float
    checkpoint_id: str | None
    values: list[Any]


class End(TypedDict):
    """A run ended.

    `out` is the numbers of messages in the final state that nothing before had shown; `answer` is the final answer
    where it is not a message (structured response, other state, a raw value). `truncated` marks that bounds cut
    facts of this run.
    """

    k: Literal["end"]
    r: str
    at: float
    status: Literal["finished", "interrupted", "error", "cancelled", "abandoned"]
    out: list[int]
    answer: NotRequired[str]
    error_type: NotRequired[str]
    error_message: NotRequired[str]
    truncated: NotRequired[bool]


class Facts(TypedDict):
    """Items of a run in the order in which they happened."""

    k: Literal["f"]
    r: str
    at: float
    f: list[Item]


class Item(TypedDict, total=False):
    """One fact; `t` says which, and which of the other keys it has. `d` is milliseconds since the run's start.

    ============ ============================================================================================
    msg          message `m` (id `id`), in OpenAI's form in `msg`; `status` 'error'; `synthetic` if no model
                 said it (supervisor's hand-back)
    tools        tool schemas number `x`, as OpenAI function tools
    graph        graph run `s` below graph run `up`, inside node run `p` and tool run `n` (0: none)
    node         node run `p` of graph run `s`; `ns` is the same for every attempt at the same task
    node_end     it ended: well, with messages `out` (`rewrite`: and removed others, as summaries do); or with
                 `error`/`text`; or by `control` flow
    graph_end    a nested graph run ended; `out` as in `End`
    call         model call `c` in `s`, `p`, `n`; input = first `keep` of the input of call `base`, then `add`
    reply        its answer: message `m`, tokens `in`, `out`
    call_error   it failed
    tool         tool run `n` in `s`, `p`, inside tool run `up`; `id` is the tool call's; `args` if not the call's own
    tool_end     it gave message `m`, or `text`
    tool_error   it raised; `control`: an interrupt or a hand-over, not an error
    ============ ============================================================================================
    """

    t: str
    d: int
    m: int
    id: str | None
    msg: dict[str, Any]
    status: str
    synthetic: bool
    x: int
    tools: list[dict[str, Any]]
    s: int
    up: int
    name: str
    p: int
    n: int
    ns: str
    out: list[int]
    rewrite: bool
    error: str
    text: str
    control: bool
    c: int
    base: int
    keep: int
    add: list[int]
    model: str | None
    usage: list[int]
    args: str
