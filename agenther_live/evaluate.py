"""Evaluators: a user's functions that say whether a trajectory reached its goal. They run in the worker.

Two forms are taken, plain or async: `fn(trajectory) -> bool | float | Outcome | None`, and the form of the agentevals
package, `fn(*, inputs, outputs, reference_outputs) -> {"key", "score", "comment"}`.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from agenther_live.coroutines import run_coroutine
from agenther_live.errors import SettingsError
from agenther_live.ids import content_hash
from agenther_live.trajectory import Evidence, Outcome, Trajectory

__all__ = ["Evaluator", "evaluator", "told_apart"]

logger = logging.getLogger("agenther_live")

_raised: set[tuple[str, type[Exception]]] = set()
_AGENTEVALS = {"inputs", "outputs", "reference_outputs"}


@dataclass(frozen=True)
class Evaluator:
    """One named evaluator; `agent` None means that it judges the trajectories of every agent."""

    name: str
    function: Callable[..., Any]
    agent: str | None = None

    def judges(self, trajectory: Trajectory) -> bool:
        """Whether the trajectory is one of those that it was given for, among those of its agent."""
        return self.agent is None or trajectory.evaluators is None or self.name in trajectory.evaluators

    def evidence(self, trajectory: Trajectory, *, now: datetime) -> Evidence:
        """Run the function on a trajectory and turn its answer into evidence.

        An evaluator that raises gives evidence that says so and decides nothing: the trajectory stays as
        it was, and the error can be read in the `feedback` view.
        """
        facts: dict[str, Any]
        try:
            answer = self._ask(trajectory)
            facts = _read(run_coroutine(_awaited(answer)) if inspect.isawaitable(answer) else answer)
        except Exception as error:  # a user's function may raise anything
            new = (self.name, type(error)) not in _raised  # where it is said once: it may raise on every trajectory
            _raised.add((self.name, type(error)))
            told = "evaluator %s raised on trajectory %s: %s: %s"
            logger.warning(
                told, self.name, trajectory.trajectory_id, type(error).__name__, str(error)[:500], exc_info=new
            )
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


def evaluator(function: Any, *, agent: str | None = None) -> Evaluator:
    """Name an evaluator after its function.

    Raises:
        SettingsError: the object cannot be called.
    """
    if isinstance(function, Evaluator):
        return function
    if not callable(function):
        raise SettingsError(f"evaluators = {function!r}: an evaluator is a function of one trajectory")
    inner = function.func if isinstance(function, functools.partial) else function
    name = getattr(inner, "__name__", None) or type(inner).__name__
    return Evaluator(name=name, function=function, agent=agent)


def told_apart(new: Evaluator, known: Sequence[Evaluator]) -> Evaluator | None:
    """Give the evaluator under a name that no other one has where both may judge one trajectory; None: it is known.

    Two functions of one name (two lambdas, say) are numbered by their order.
    """
    if any((each.function, each.agent) == (new.function, new.agent) for each in known):
        return None
    taken = {each.name for each in known if None in (each.agent, new.agent) or each.agent == new.agent}
    name, n = new.name, 2
    while name in taken:
        name, n = f"{new.name}-{n}", n + 1
    return replace(new, name=name)


def _speaks_agentevals(function: Callable[..., Any]) -> bool:
    try:
        names = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return len(names & _AGENTEVALS) >= 2


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _read(answer: Any) -> dict[str, Any]:
    """Give the evidence fields that an evaluator's answer stands for."""
    if type(answer).__module__ == "numpy" and hasattr(answer, "item"):
        answer = answer.item()
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
