"""The strategy `future`: goals for a run that is cut short. Off by default, because the easy form of it does harm.

Full-looking goals on cut runs taught stopping early (success 93 → 64 %); marked samples without a trained final message
did none. So a cut sample has no final message, is marked, is held to a quarter of a shard, and a chat model must say
that one would stop there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agenther_live.labels import Sample
from agenther_live.relabel.models import Case, Extraction
from agenther_live.relabel.reading.calls import view

__all__ = ["prefixes"]


def prefixes(case: Case, final: Sample) -> Iterator[Case]:
    """Give up to `future_prefixes` cases: the run up to a call that worked, evenly spread over the final span."""
    k, seen = case.policy.future_prefixes, case.view
    ends = sorted(
        {
            max(other.observed_at for other in seen.calls if other.at == call.at and other.observed_at is not None) + 1
            for call in seen.calls
            if call.ok and call.observed_at is not None and call.at < seen.turn_end
        }
    )
    ends = [end for end in ends if end <= max(final.evidence, default=0)]
    picked = sorted({ends[(2 * i + 1) * len(ends) // (2 * k)] for i in range(k)}) if ends else []
    for end in picked:
        run = case.trajectory
        cut = run.model_copy(
            update={
                "messages": run.messages[:end],
                "steps": tuple(
                    step for step in run.steps if step.message_index is not None and step.message_index < end
                ),
                "final_answer": None,
            }
        )
        proofs = [each for each in case.extraction.achievements if all(index < end for index in each.messages)]
        if proofs:
            yield replace(
                case,
                trajectory=cut,
                view=view(cut, case.policy.tool_kinds),
                extraction=Extraction(tuple(proofs), case.extraction.method),
                strategy="future",
            )
