"""Are the models there? Each endpoint is asked once for structured output, and once with a prompt of full length.

What `agenther-live doctor --models` prints. Nothing of a trajectory is sent: the texts are made up here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from agenther_live.errors import ModelError, SpendCapReached, TerminalModelError
from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import Prompt, ask
from agenther_live.relabel.models import ChatModel, Policy, Refused, Unanswered

__all__ = ["Finding", "probe_model", "probe_models"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking one model.

    `auth`: the endpoint took the key; `structured`: a short question was answered by just the JSON that was asked for;
    `long_prompt`: so was one of `chars` characters. None: not tried, since the step before failed. `way` is how JSON is
    asked for ('schema', 'object' or 'plain'), where the model says so; `seconds` is the time of the short question.
    """

    model: str
    used_as: tuple[str, ...]
    auth: bool
    structured: bool | None = None
    long_prompt: bool | None = None
    way: str | None = None
    chars: int = 0
    seconds: float = 0.0
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the model can be worked with."""
        return self.auth and bool(self.structured) and bool(self.long_prompt)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return asdict(self) | {"ok": self.ok}


async def probe_models(models: Mapping[str, ChatModel], policy: Policy) -> list[Finding]:
    """Ask each model that is used (setting → model), equal ones once; give what came of it, in order.

    Costs two calls a model: some 100 tokens, and `max_context_chars` / 4. No exception of an endpoint comes through.
    """
    policy = replace(policy, marker_key=secrets.token_bytes(16))  # a question that no stored reply answers
    used: dict[str, tuple[ChatModel, list[str]]] = {}
    for setting, model in models.items():
        used.setdefault(str(getattr(model, "identity", model.name)), (model, []))[1].append(setting)
    return [await probe_model(model, settings, policy) for model, settings in used.values()]


async def probe_model(model: ChatModel, used_as: Sequence[str], policy: Policy) -> Finding:
    """Ask one model: a short question first, then one of full length."""
    began = time.monotonic()
    problem = await _problem(model, prompts.probe_prompt(0, policy), policy)
    seconds, way = round(time.monotonic() - began, 3), getattr(getattr(model, "model", model), "output", None)
    if problem is not None:
        auth = isinstance(problem, Unanswered | Refused)  # it replied, if not as it was asked to
        structured = False if auth else None
        return Finding(model.name, tuple(used_as), auth, structured, way=way, seconds=seconds, problem=_said(problem))
    chars = policy.max_context_chars
    problem = await _problem(model, prompts.probe_prompt(chars, policy), policy)
    told = "" if problem is None else f"with a prompt of {chars:,} characters (max_context_chars): {_said(problem)}"
    return Finding(model.name, tuple(used_as), True, True, problem is None, way, chars, seconds, told)


async def _problem(model: ChatModel, prompt: Prompt, policy: Policy) -> Exception | None:
    try:
        reply = await ask(model, prompt, policy)
    except (ModelError, SpendCapReached, Refused) as error:
        return error
    return None if reply["count"] == prompts.PROBE_COUNT else Unanswered("it cannot count five words")


def _said(error: Exception) -> str:
    return f"{error} (no retry helps)" if isinstance(error, TerminalModelError) else str(error)
