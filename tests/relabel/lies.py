"""Goals taught of a run, false and true, written by hand: `lies.jsonl`, and how one is put to the checks.

One case a line. Add yours at the end of the file, and the test and the bench have it:

    id       its name; `set` says with which others it was written, `kind` in what the false one lies
    true     whether the run reached the goal, and the answer is so
    seen     false until somebody who had looked at the case wrote or changed a check; true ever after
    first    whether it was accepted when it was first put to the checks; null where nobody wrote it down
    asked    the goal that failed; `steps`: tool, arguments and result of each call; `goal` and `answer`: what is taught
    prompt, tools   the system prompt, and tools that no step calls, where they matter
    judge    "rules" where it is a case for that judge, and not for the checks alone
    known    why the checks judge it otherwise than `true` says, where they do; what has none must be judged right
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agenther_live.labels import Relabeling, Verdict
from agenther_live.relabel import RulesJudge, relabel
from agenther_live.relabel.models import Candidate, Case, Judge, Proposal, Requirement
from tests.relabel.build import FAILED, says, system, trajectory, user, uses

FILE = Path(__file__).with_name("lies.jsonl")
PROMPT = "You help."


@dataclass(frozen=True)
class Lie:
    """One case, as the module's head says: a lie, or the true twin of one."""

    id: str
    set: str
    kind: str
    true: bool
    seen: bool
    first: bool | None
    asked: str
    steps: Sequence[Any]
    goal: str
    answer: str
    prompt: str = PROMPT
    tools: Sequence[str] = ()
    judge: str = "yes"
    known: str = ""


def lies(file: Path = FILE) -> list[Lie]:
    """All cases, in the order of the file."""
    return [Lie(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


class Yes:
    """A judge that accepts what it is given."""

    name = "yes"

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        return Verdict(judge=self.name, is_valid=True, confidence=0.95, reason="yes")


def judge_of(name: str) -> Judge:
    return RulesJudge() if name == "rules" else Yes()


@dataclass
class Proposes:
    """A relabeler that has one goal, and cites every call that worked."""

    goal: str
    answer: str
    name: str = "one goal"

    async def propose(self, case: Case, attempt: int, refused: Any) -> Proposal:
        shown = tuple(i for call in case.view.calls if call.ok for i in (call.at, call.observed_at) if i is not None)
        return Proposal(self.goal, 0.95, True, max(shown) + 1, (Requirement(self.goal, shown),), self.answer)


def teach(lie: Lie, judge: Judge | None = None) -> Relabeling:
    """Relabel the run to the goal of the case, before the judge given, else before that of the case."""
    messages = [
        system(lie.prompt),
        user(lie.asked),
        *(each for step in lie.steps for each in uses(*step)),
        says(lie.answer),
    ]
    names = dict.fromkeys([*(step[0] for step in lie.steps), *lie.tools])
    tools = tuple({"type": "function", "function": {"name": name}} for name in names)
    panel = [judge or judge_of(lie.judge)]
    proposes = Proposes(lie.goal, lie.answer)
    return asyncio.run(relabel(trajectory(messages, tools=tools), FAILED, 1, relabeler=proposes, judges=panel))
