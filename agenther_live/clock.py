"""What time it is, in the one form that everything here stores."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["utcnow"]


def utcnow() -> datetime:
    """Now, as a naive UTC time."""
    return datetime.now(UTC).replace(tzinfo=None)
