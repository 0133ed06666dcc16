"""The audit: one row per deed on the data itself. What a crash interrupted stands there with what is left to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, select

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.schema import audit, meta
from agenther_live.ids import uuid7

__all__ = ["Action", "Deed", "begin", "done", "figures", "note", "remember", "undone", "wanted"]

Action = Literal["delete", "lift", "forget", "compact"]
_COLUMNS = tuple(column.name for column in audit.columns)


@dataclass(frozen=True)
class Deed:
    """A row of the audit. Times are naive UTC; `todo` is what is left to do."""

    audit_id: str
    at: datetime
    action: Action
    target: str | None = None
    target_key: str | None = None
    reason: str | None = None
    trajectories: int = 0
    samples: int = 0
    shards: int = 0
    bytes: int | None = None
    consumers: list[dict[str, Any]] | None = None
    policy_versions: list[str] | None = None
    todo: Mapping[str, Any] | None = None
    done_at: datetime | None = None


def note(tx: Transaction, action: Action, *, now: datetime, **figures: Any) -> str:
    """Write down a deed that is done; gives its id."""
    return begin(tx, action, now=now, done_at=now, **figures)


def begin(tx: Transaction, action: Action, *, now: datetime, **figures: Any) -> str:
    """Write down a deed that begins; gives its id."""
    deed = Deed(audit_id=uuid7(), at=now, action=action, **figures)
    tx.insert(audit, _COLUMNS, [tuple(_plain(getattr(deed, name)) for name in _COLUMNS)])
    return deed.audit_id


def done(tx: Transaction, audit_id: str, *, now: datetime, **figures: Any) -> None:
    """Write down that a deed is done; nothing of it is left to do."""
    sets = {**figures, "todo": None, "done_at": now}
    row = (audit_id, *(_plain(value) for value in sets.values()))
    tx.update(audit, ("audit_id",), tuple(sets), [row])


def undone(tx: Transaction) -> list[Deed]:
    """Give the deletions that were begun and not finished, oldest first."""
    columns = [audit.c[name] for name in _COLUMNS]
    query = select(*columns).where(audit.c.done_at.is_(None), audit.c.action == "delete").order_by(audit.c.at)
    return [Deed(*(_value(name, item) for name, item in zip(_COLUMNS, row, strict=True))) for row in tx.rows(query)]


def figures(tx: Transaction) -> dict[str, int]:
    """Give how many trajectories were deleted, and how many went by age, count or bytes."""
    a = audit.c
    rows = dict(tx.rows(select(a.action, func.sum(a.trajectories)).group_by(a.action)))
    return {"deleted": int(rows.get("delete") or 0), "forgotten": int(rows.get("forget") or 0)}


def wanted(tx: Transaction, key: str) -> str | None:
    """Give a note that the worker left itself (`meta`), or None."""
    rows = tx.rows(select(meta.c.value).where(meta.c.key == key))
    return str(rows[0][0]) if rows else None


def remember(tx: Transaction, key: str, value: str | None) -> None:
    """Leave or take away such a note."""
    tx.connection.execute(meta.delete().where(meta.c.key == key))
    if value is not None:
        tx.insert(meta, ("key", "value"), [(key, value)])


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _value(name: str, value: Any) -> Any:
    if name in ("consumers", "policy_versions", "todo") and isinstance(value, str):
        return json.loads(value)
    return value
