"""Stage 0 by a chat model: did the run reach its goal? Asked only where no evidence says so, and never as a last word.

Its answer is evidence of the source `judge`: a person, a reward and an evaluator outrank it (`agenther_live.outcome`),
and what it cannot tell stays unknown.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from agenther_live.ids import content_hash
from agenther_live.relabel.checks.missed import noted
from agenther_live.relabel.conducted import conducted
from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import ask
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import ChatModel, Policy, Refused, Unanswered
from agenther_live.relabel.reading.calls import view
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["OutcomeJudge"]


class OutcomeJudge:
    """Asks a chat model at temperature 0 about a share of the runs whose outcome nobody knows."""

    def __init__(self, model: ChatModel, *, share: float = 1.0) -> None:
        """Judge outcomes by `model`; `share` in [0, 1] of the trajectories is asked about, chosen by their ids."""
        self.model = model
        self.share = share

    @property
    def name(self) -> str:
        """Under which name it is noted what it has seen; never the name of an evaluator of a user's own."""
        return f"outcome:{self.model.name}"

    def wants(self, trajectory_id: str) -> bool:
        """Whether this trajectory is in the share: the same answer in every process."""
        digest = hashlib.sha256(f"outcome\x1f{trajectory_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64

    async def evidence(self, trajectory: Trajectory, policy: Policy, *, now: datetime) -> Evidence:
        """Ask once. Where the reply is no answer, or not sure enough (c < θ), the evidence says so and decides nothing.

        Raises:
            TransientModelError, TerminalModelError, SpendCapReached: there was no reply.
        """
        success: bool | None = None
        policy = policy.of_agent(trajectory.agent)
        value, comment = None, ""
        try:
            seen = view(conducted(trajectory), policy.tool_kinds)
            reply = await ask(self.model, prompts.outcome_prompt(seen, policy), policy)
        except (Unanswered, Refused) as error:
            value, comment = "unanswered", str(error)
        else:
            met = all(each["met"] for each in reply["requirements"])
            comment = noted(
                (each["text"] for each in reply["requirements"] if not each["met"]), visible(reply["reason"])
            )
            if reply["can_tell"] and reply["confidence"] >= policy.theta and reply["reached"] == met:
                success = reply["reached"]
            else:
                value = "no opinion"
        identity = content_hash([trajectory.trajectory_id, trajectory.revision, self.name])
        return Evidence(
            evidence_id=f"ev_{identity[:32]}",
            trajectory_id=trajectory.trajectory_id,
            source="judge",
            key=self.name,
            success=success,
            value=value,
            comment=comment[:500] or None,
            at=now,
        )
