"""What time it is, in the one form that everything here stores."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["naive", "read_stamp", "stamped", "utcnow"]


def utcnow() -> datetime:
    """Now, as a naive UTC time."""
    return datetime.now(UTC).replace(tzinfo=None)


def naive(when: datetime) -> datetime:
    """Give a time as naive UTC, as everything is stored; one without a zone is UTC already."""
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)


def stamped(when: datetime) -> str:
    """Give a time (naive is UTC) as JSON has it everywhere: ISO 8601 with microseconds and the mark of UTC."""
    aware = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return aware.isoformat(timespec="microseconds")


def read_stamp(text: str) -> datetime:
    """Read what `stamped` wrote as a naive UTC time; without a mark it is UTC already.

    Raises:
        ValueError: it is no time.
    """
    return naive(datetime.fromisoformat(text))
