"""Stage 3 by a chat model: the goal that the run did reach (paper, section on the prompt relabeler)."""

from __future__ import annotations

from collections.abc import Sequence

from agenther_live.relabel.checks.missed import named
from agenther_live.relabel.extract import achieved
from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import ask
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import Case, ChatModel, Proposal, Refused, Requirement, showing_words_of

__all__ = ["ModelRelabeler"]


class ModelRelabeler:
    """Asks a chat model: temperature 0.3 at first, 0.7 at later attempts (paper), each told what was refused before."""

    def __init__(self, model: ChatModel) -> None:
        """Relabel by `model`."""
        self.model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    async def propose(self, case: Case, attempt: int, refused: Sequence[tuple[str, str]]) -> Proposal:
        """Ask once. Indices that are no results of the run are dropped; a goal left without evidence proves nothing."""
        prompt = prompts.relabel_prompt(case, attempt, refused)
        with showing_words_of(each.trajectory_id for each in case.style):
            reply = await ask(self.model, prompt, case.policy)
        results = case.view.observation_indices
        requirements = tuple(
            Requirement(
                visible(each["text"])[:500], tuple(sorted({index for index in each["messages"] if index in results}))
            )
            for each in reply["requirements"]
        )
        goal = " ".join(visible(reply["goal"]).split())
        cited = [index for each in requirements for index in each.messages]
        if reply["valid"] and (not goal or not cited):
            raise Refused("relabeler:invalid", "the relabeler proposed a goal without evidence")
        last = reply["last_message"] if reply["last_message"] in results else max(cited, default=-1)
        return Proposal(
            hindsight_goal=goal[:4000],
            confidence=float(reply["confidence"]),
            valid=reply["valid"],
            end=max([last, *cited]) + 1,
            requirements=requirements,
            final_answer=visible(reply["final_answer"]).strip() or None,
            rationale=visible(reply["rationale"])[:1000],
            method=self.name,
            prompt_version=prompt.version,
            achievements=achieved(case, reply["achievements"]),
            missed=named(reply["missed"], case.trajectory.goal),
        )
