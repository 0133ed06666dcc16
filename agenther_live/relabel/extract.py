"""Stage 2: what the run achieved in fact, with the messages that prove it (paper, section on the extractor)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agenther_live.relabel.judges import prompts
from agenther_live.relabel.judges.ask import ask
from agenther_live.relabel.judges.quoting import visible
from agenther_live.relabel.models import Achievement, Case, ChatModel, Extraction
from agenther_live.relabel.reading.calls import scalars

__all__ = ["ModelExtractor", "RulesExtractor", "achieved"]


class RulesExtractor:
    """Every call that worked is an achievement: its arguments, and what came back."""

    name = "rules"

    async def extract(self, case: Case) -> Extraction:
        """List the calls that worked, equal ones once."""
        found = {call.signature: call for call in case.view.calls if call.ok}
        return Extraction(
            tuple(
                Achievement(
                    text=f"{call.name}({', '.join(f'{key}={value}' for key, value in call.args.items())[:300]})"
                    + _gist(call.result, call.observation),
                    messages=tuple(index for index in (call.at, call.observed_at) if index is not None),
                    write=call.kind == "write",
                )
                for call in sorted(found.values(), key=lambda each: each.number)
            ),
            method=self.name,
        )


def _gist(result: object, observation: str | None) -> str:
    cells = [f"{path[-1] if path else 'value'}={value}" for path, value in scalars(result)][:6]
    text = ", ".join(cells) if cells else (observation or "").strip()[:120]
    return f" → {text}"[:300]


class ModelExtractor:
    """Asks a chat model in a call of its own; what it cites must be results that the run has."""

    def __init__(self, model: ChatModel) -> None:
        """Extract by `model`."""
        self.model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    async def extract(self, case: Case) -> Extraction:
        """Ask once. An achievement that cites no result is dropped."""
        reply = await ask(self.model, prompts.extract_prompt(case), case.policy)
        return Extraction(achieved(case, reply["achievements"]), method=self.name)


def achieved(case: Case, told: Iterable[Mapping[str, Any]]) -> tuple[Achievement, ...]:
    """What a model says was achieved, where it cites results that the run has."""
    writes = {index for call in case.view.calls if call.kind == "write" for index in (call.at, call.observed_at)}
    found = []
    for each in told:
        cited = tuple(sorted({i for i in each["messages"] if i in case.view.observation_indices}))
        if cited and each["text"].strip():
            found.append(Achievement(visible(each["text"])[:500], cited, write=bool(writes.intersection(cited))))
    return tuple(found)
