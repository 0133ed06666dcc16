"""What signs of a run mean for an agent: a hand-over to a person may be its success, an empty answer its normal end.

Declared with `attach(…, polarity={"handoff": "success"})` or in `agenther.toml` below `[polarity.AGENT]`; the worker
reads both at every tick. The signs:

    handoff           the last call that worked handed the task to a person
    tool:NAME         the last call that worked was of this tool
    no_final_answer   the run finished without an answer
    recursion_limit   LangGraph's limit of steps
    error             any other error of the agent's own

The reading is evidence of the lowest rank (`terminal`): whatever a person, a reward, an evaluator or a judge says wins.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, get_args

from agenther_live.errors import HomeError, SettingsError
from agenther_live.evaluate import Evaluator
from agenther_live.home import Home
from agenther_live.ids import content_hash
from agenther_live.outcome import IGNORED, RECURSION_LIMIT, is_not_the_agents_doing
from agenther_live.relabel.conducted import conducted
from agenther_live.relabel.reading.calls import Call, name_words, view
from agenther_live.settings import Settings
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["Meaning", "Polarity", "checked", "declare", "declared", "signs"]

logger = logging.getLogger("agenther_live")

Meaning = Literal["success", "failure", "unknown"]
_SIGNS = ("handoff", "no_final_answer", "recursion_limit", "error")
_HANDING = frozenset(("handoff", "handover", "escalate", "escalation"))
_MOVING = frozenset(("transfer", "hand", "forward", "route", "connect", "refer"))
_PEOPLE = frozenset(("human", "humans", "person", "operator", "representative", "staff", "supervisor", "off"))


def checked(meanings: Mapping[str, str]) -> dict[str, Meaning]:
    """Give the meanings as they are, after a look at every name.

    Raises:
        SettingsError: an unknown sign or meaning.
    """
    found: dict[str, Meaning] = {}
    for sign, meaning in meanings.items():
        if sign not in _SIGNS and not sign.startswith("tool:"):
            raise SettingsError(f"polarity: {sign!r} is no sign; allowed: {', '.join(_SIGNS)}, tool:NAME")
        if meaning not in get_args(Meaning):
            raise SettingsError(f"polarity: {sign} = {meaning!r}; allowed: {', '.join(get_args(Meaning))}")
        found[sign] = meaning  # type: ignore[assignment]  # just checked
    return found


def signs(trajectory: Trajectory) -> Iterator[str]:
    """Give the signs of an ended run, the most telling first."""
    if trajectory.status == "error":
        name = (trajectory.error_type or "").rpartition(".")[2]
        if name == RECURSION_LIMIT:
            yield "recursion_limit"
        elif not is_not_the_agents_doing(trajectory.error_type, trajectory.error_message):
            yield "error"
        return
    if trajectory.status != "finished":
        return
    seen = view(conducted(trajectory))
    worked = [call for call in seen.calls if not call.failed]
    last = worked[-1] if worked else None
    if last is not None:
        yield f"tool:{last.name}"
        if _hands_over(last):
            yield "handoff"
    if not (trajectory.final_answer or "").strip():
        yield "no_final_answer"


def _hands_over(call: Call) -> bool:
    parts = set(name_words(call.name))
    return bool(parts & _HANDING) or bool(parts & _MOVING and parts & _PEOPLE)


@dataclass(frozen=True)
class Polarity(Evaluator):
    """The declared meanings of one agent, in the place of an evaluator: each ended run is read once a revision."""

    meanings: Mapping[str, Meaning] = field(default_factory=dict)

    def judges(self, trajectory: Trajectory) -> bool:
        """Whether it reads the trajectory: what is declared holds for every attachment of its agent's name."""
        return True

    def evidence(self, trajectory: Trajectory, *, now: datetime) -> Evidence:
        """Read the signs; the first that has a declared meaning decides, `unknown` silences how the run ended."""
        sign = next((sign for sign in signs(trajectory) if sign in self.meanings), None)
        meaning = self.meanings[sign] if sign is not None else None
        identity = content_hash([trajectory.trajectory_id, trajectory.revision, self.name])
        return Evidence(
            evidence_id=f"ev_{identity[:32]}",
            trajectory_id=trajectory.trajectory_id,
            source="terminal",
            key="signs",
            success=None if meaning in (None, "unknown") else meaning == "success",
            value=IGNORED if meaning == "unknown" else sign or "no sign",
            comment=None if sign is None else f"{sign} means {meaning} for this agent",
            at=now,
        )


def declare(home: Home, agent: str, meanings: Mapping[str, Meaning]) -> None:
    """Keep what `attach` was told, for every worker of this home.

    Raises:
        HomeError: it cannot be written down.
    """
    if _kept(home).get(agent) == dict(meanings):
        return
    path = home.path / "polarity.json"
    try:
        with home.changing_notes():
            home.note(path, json.dumps(_kept(home) | {agent: dict(meanings)}, sort_keys=True).encode())
    except OSError as error:
        raise HomeError(f"{path} cannot be written: {error.strerror or error}") from None


def declared(home: Home, settings: Settings) -> list[Polarity]:
    """Give what is declared for each agent now; what `attach` was told beats the settings."""
    found = []
    for agent, meanings in sorted(({**settings.polarity} | _kept(home)).items()):
        try:
            known = checked(meanings)
        except SettingsError as error:
            _pass_over(f"{error} (agent {agent}): passed over")
            continue
        name = f"signs-{content_hash([agent, known])[:8]}"  # other meanings are another reading of every run
        found.append(Polarity(name=name, function=signs, agent=agent, meanings=known))
    return found


@lru_cache(maxsize=64)
def _pass_over(text: str) -> None:
    """Say it once: the worker looks at every tick."""
    logger.warning("%s", text)


def _kept(home: Home) -> dict[str, dict[str, Meaning]]:
    try:
        found = json.loads((home.path / "polarity.json").read_bytes())
    except (OSError, ValueError):  # a file that cannot be read declares nothing
        return {}
    kept = found if isinstance(found, dict) else {}
    return {agent: meanings for agent, meanings in kept.items() if isinstance(meanings, dict)}
