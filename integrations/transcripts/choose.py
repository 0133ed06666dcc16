"""Which adapter reads a conversation: by its known source, else by its structure, else the generic one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agenther_live.integrations.transcripts.adapter import Adapter
from agenther_live.integrations.transcripts.chat import CHAT
from agenther_live.integrations.transcripts.react import REACT
from agenther_live.integrations.transcripts.shell import MINI_SWE, SWE_AGENT
from agenther_live.integrations.transcripts.speakers import SPEAKERS
from agenther_live.integrations.transcripts.tau import TAU
from agenther_live.trajectory import Message

ADAPTERS: Mapping[str, Adapter] = {
    adapter.name: adapter for adapter in (SPEAKERS, MINI_SWE, SWE_AGENT, TAU, REACT, CHAT)
}
SOURCES: Mapping[str, Adapter] = {
    "agentrx-tau-retail": CHAT,
    "bioagent-errors": SPEAKERS,
    "fireact-hotpotqa": REACT,
    "react-webshop": REACT,
    "reflexion-hotpotqa": REACT,
    "sweagent-traj": SWE_AGENT,
    "swebench-mini-swe-agent": MINI_SWE,
    "tau-bench-airline": CHAT,
    "tau-bench-qwen3-text": TAU,
    "toolbench-examples": CHAT,
}


def choose(source: str | None, messages: Sequence[Message]) -> Adapter:
    """Pick the adapter; the first whose structure is found wins, from the most particular to the most general."""
    known = SOURCES.get(source or "")
    return known or next(adapter for adapter in ADAPTERS.values() if adapter.matches(messages))
