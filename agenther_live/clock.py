"""What time it is, in the one form that everything here stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["moment", "naive", "read_stamp", "stamped", "utcnow"]

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 naive UTC


def utcnow() -> datetime:
    """Now, as a naive UTC time."""
    return datetime.now(UTC).replace(tzinfo=None)


def moment(at: float) -> datetime:
    """Turn seconds of the epoch into naive UTC, as `datetime.fromtimestamp` rounds, in half its time.

    Raises:
        OverflowError: it is not within the years 1 to 9999.
        ValueError: it is not a number.
    """
    return _EPOCH + timedelta(0, at)


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
