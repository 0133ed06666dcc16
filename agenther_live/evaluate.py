"""Evaluators: a user's functions that say whether a trajectory reached its goal. They run in the worker.

Two forms are taken: `fn(trajectory) -> bool | float | Outcome | None`, and the form of the agentevals
package, `fn(*, inputs, outputs, reference_outputs) -> {"key", "score", "comment"}`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agenther_live.errors import SettingsError
from agenther_live.ids import content_hash
from agenther_live.trajectory import Evidence, Outcome, Trajectory

__all__ = ["Evaluator", "evaluator"]

_AGENTEVALS = {"inputs", "outputs", "reference_outputs"}


@dataclass(frozen=True)
class Evaluator:
    """One named evaluator; `agent` None means that it judges the trajectories of every agent."""

    name: str
    function: Callable[..., Any]
    agent: str | None = None

    def evidence(self, trajectory: Trajectory, *, now: datetime) -> Evidence:
        """Run the function on a trajectory and turn its answer into evidence.

        An evaluator that raises gives evidence that says so and decides nothing: the trajectory stays as
        it was, and the error can be read in the `feedback` view.
        """
        try:
            answer = self._ask(trajectory)
            facts = _read(answer)
        except Exception as error:  # a user's function may raise anything
            facts = {"value": "error", "comment": f"{type(error).__name__}: {error}"[:500]}
        key = str(facts.pop("key", None) or self.name)
        identity = content_hash([trajectory.trajectory_id, trajectory.revision, self.name])
        return Evidence(
            evidence_id=f"ev_{identity[:32]}",
            trajectory_id=trajectory.trajectory_id,
            source="evaluator",
            key=key,
            at=now,
            **facts,
        )

    def _ask(self, trajectory: Trajectory) -> Any:
        if not _speaks_agentevals(self.function):
            return self.function(trajectory)
        new = trajectory.messages[trajectory.context_len :]
        asked = [message.wire() for message in new if message.role == "user"]
        return self.function(
            inputs={"messages": asked},
            outputs=[message.wire() for message in trajectory.messages],
            reference_outputs=None,
        )


def evaluator(function: Callable[..., Any], *, agent: str | None = None) -> Evaluator:
    """Name an evaluator after its function.

    Raises:
        SettingsError: the object cannot be called.
    """
    if isinstance(function, Evaluator):
        return function
    if not callable(function):
        raise SettingsError(f"evaluators = {function!r}: an evaluator is a function of one trajectory")
    name = getattr(function, "__name__", None) or type(function).__name__
    return Evaluator(name=name, function=function, agent=agent)


def _speaks_agentevals(function: Callable[..., Any]) -> bool:
    try:
        names = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return len(names & _AGENTEVALS) >= 2


def _read(answer: Any) -> dict[str, Any]:
    """Give the evidence fields that an evaluator's answer stands for."""
    if answer is None:
        return {"value": "no opinion"}
    if isinstance(answer, bool):
        return {"success": answer}
    if isinstance(answer, int | float):
        return {"score": float(answer)}
    if isinstance(answer, Outcome):
        success = {"success": True, "failure": False, "unknown": None}[answer.label]
        return {"success": success, "score": answer.reward, "comment": answer.reason}
    if isinstance(answer, Mapping):
        comment = answer.get("comment")
        facts = _read(answer.get("score"))
        return {**facts, "key": answer.get("key"), "comment": None if comment is None else str(comment)}
    raise TypeError(f"an evaluator answers with bool, float, Outcome, None or a mapping, not {type(answer).__name__}")
