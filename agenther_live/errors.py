"""The error tree.

::

    AgentHERError
    ├── UsageError              what the caller asked for cannot be done as asked (CLI exit code 2)
    │   ├── NoHome              a folder is looked into as a home, and is none
    │   ├── SettingsError       a setting has a value that is not allowed
    │   └── GraphError          the object given to `attach` is no compiled graph
    ├── HomeError               the home directory cannot be used
    │   └── WorkerRunning       another worker holds this home
    ├── JournalError            the journal cannot be written or read
    ├── BufferError             the replay buffer cannot be used
    │   ├── BufferLocked        another process holds the buffer's file
    │   ├── BufferVersion       the buffer was written by a newer version
    │   ├── MoveRefused         a state change that the tables of moves do not allow
    │   └── QueryError          a user's SQL cannot be run
    ├── ModelError              a chat model did not give a usable reply
    │   ├── TransientModelError worth another try later (429, 5xx, timeout, connection)
    │   └── TerminalModelError  no retry helps (401, 400, unknown model, no key)
    ├── SpendCapReached         the day's or hour's cap on money or tokens is used up
    │   └── EndpointDown        a model's endpoint failed so often that it is left alone for a while
    └── ShardError              a shard or manifest is not as it must be
        ├── StoreError          an object store that holds shards cannot be reached, or refuses
        └── TooFewRows          a round did not get its rows in time

Messages say what happened, to which id or file, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "AgentHERError",
    "BufferError",
    "BufferLocked",
    "BufferVersion",
    "EndpointDown",
    "GraphError",
    "HomeError",
    "JournalError",
    "ModelError",
    "MoveRefused",
    "NoHome",
    "QueryError",
    "SettingsError",
    "ShardError",
    "SpendCapReached",
    "StoreError",
    "TerminalModelError",
    "TooFewRows",
    "TransientModelError",
    "UsageError",
    "WorkerRunning",
]


class AgentHERError(Exception):
    """Root of every error that this package raises on purpose."""


class UsageError(AgentHERError):
    """What the caller asked for cannot be done as asked."""


class NoHome(UsageError):
    """A folder is looked into as a home, and is none."""


class SettingsError(UsageError):
    """A setting has a value that is not allowed; the message names it, its value and what is allowed."""


class GraphError(UsageError):
    """The object given to `attach` is not a compiled LangGraph graph."""


class HomeError(AgentHERError):
    """The home directory cannot be created, read or written."""


class WorkerRunning(HomeError):
    """Another worker already holds this home."""


class JournalError(AgentHERError):
    """The journal cannot be written or read."""


class BufferError(AgentHERError):
    """The replay buffer cannot be used."""


class BufferLocked(BufferError):
    """Another process holds the buffer's file; the message names its pid."""


class BufferVersion(BufferError):
    """The buffer's schema is newer than this version of the package."""


class MoveRefused(BufferError):
    """A state change that the tables of moves do not allow."""


class QueryError(BufferError):
    """A user's SQL cannot be run."""


class ModelError(AgentHERError):
    """A chat model did not give a usable reply."""


_LONGEST_ADVICE = 3600.0  # seconds


class TransientModelError(ModelError):
    """A failure that a later try may not meet; `retry_after` is the server's advice in seconds, an hour at most."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the server's advice beside the message.

        Servers that give a moment where seconds are asked for (an epoch time) would else be left alone for decades.
        """
        super().__init__(message)
        self.retry_after = None if retry_after is None else min(max(retry_after, 0.0), _LONGEST_ADVICE)


class TerminalModelError(ModelError):
    """A failure that no retry mends: bad key, bad request, unknown model."""


class SpendCapReached(AgentHERError):
    """The cap on money or tokens is used up; work goes on when its window ends."""


class EndpointDown(SpendCapReached):
    """An endpoint failed so often in a row that it is left alone for a while.

    Like a cap it pauses the work as a whole; it costs no trajectory one of its tries.
    """


class ShardError(AgentHERError):
    """A shard or the manifest is not as it must be."""


class StoreError(ShardError):
    """An object store that holds shards cannot be reached, or refuses; a later try may do."""


class TooFewRows(ShardError):
    """Fewer rows than a round needs were published in time; none was taken, and the next round begins with them."""
