"""The judges: `rules`, which proves or refuses, and chat models, which answer six questions and nothing else."""

from __future__ import annotations

from agenther_live.labels import Verdict
from agenther_live.relabel.checks.checks import refute
from agenther_live.relabel.checks.doubts import doubts, proofs
from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import ask
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import Candidate, Case, ChatModel, Unanswered

__all__ = ["ModelJudge", "RulesJudge"]


class RulesJudge:
    """The deterministic checks as a member of the panel: valid only where every part of the goal is proven."""

    name = "rules"
    version = "rules-4"

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        """Refute, then doubt; what stands after both is valid."""
        fault = refute(case, candidate) or doubts(case, candidate)
        if fault is not None:
            return Verdict(
                judge=self.name,
                is_valid=False,
                confidence=0.9,
                reason=f"{fault.reason}: {fault.detail}",
                prompt_version=self.version,
            )
        proven = proofs(case, candidate)
        return Verdict(
            judge=self.name,
            is_valid=True,
            confidence=min(0.9, 0.7 + 0.1 * proven),
            reason=f"every mention is grounded, every argument asked for, {proven} requirements proven",
            prompt_version=self.version,
        )


class ModelJudge:
    """A chat model at temperature 0. What it says counts only where its reply is exactly what was asked for."""

    def __init__(self, model: ChatModel) -> None:
        """Judge by `model`."""
        self.model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        """Ask about T, S, C, W, L and D; valid only where all six are, and where nothing better was listed."""
        prompt = prompts.judge_prompt(case, candidate)
        try:
            reply = await ask(self.model, prompt, case.policy)
        except Unanswered as unanswered:
            return Verdict(
                judge=self.name, status="unanswered", reason=str(unanswered)[:500], prompt_version=prompt.version
            )
        if not reply.get("stops_here", True):
            reply["s"] = False
        failed = [name.upper() for name in "tscwld" if not reply[name]]
        if reply["better_options"] and "C" not in failed:
            failed.append("C")
        unmet = [visible(each["text"]) for each in reply["requirements"] if not each["met"]]
        valid = bool(reply["valid"]) and not failed and not unmet
        parts = [
            f"fails {', '.join(failed)}" if failed else "",
            f"unmet: {unmet[0][:200]}" if unmet else "",
            visible(reply["reason"])[:800],
        ]
        return Verdict(
            judge=self.name,
            is_valid=valid,
            confidence=float(reply["confidence"]),
            reason="; ".join(part for part in parts if part),
            prompt_version=prompt.version,
        )
