"""Hindsight experience replay for running LangGraph agents: failed runs become training data, online."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agenther_live.errors import AgentHERError
    from agenther_live.live import Live
    from agenther_live.settings import Settings
    from agenther_live.shards.reading.follow import ShardStream
    from agenther_live.trajectory import Message, Outcome, Trajectory

__all__ = ["AgentHERError", "Live", "Message", "Outcome", "Settings", "ShardStream", "Trajectory"]

# Imported when first asked for: a part of the package can be used without LangGraph and the database behind `Live`.
_HOMES = {
    "AgentHERError": "errors",
    "Live": "live",
    "Message": "trajectory",
    "Outcome": "trajectory",
    "Settings": "settings",
    "ShardStream": "shards.reading.follow",
    "Trajectory": "trajectory",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
