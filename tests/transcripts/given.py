"""Records as files, and what was read of them: what the tests of the import share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agenther_live.integrations.transcripts import Imported, read
from agenther_live.trajectory import Action, Trajectory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def imported(tmp_path: Path, *records: Any, **options: Any) -> list[Imported]:
    items = list(read(write(tmp_path / "in.jsonl", *records), now=NOW, **options))
    assert all(isinstance(item, Imported) for item in items), items
    return [item for item in items if isinstance(item, Imported)]


def one(tmp_path: Path, record: dict[str, Any], **options: Any) -> Imported:
    (item,) = imported(tmp_path, record, **options)
    return item


def talk(*turns: tuple[str, str], **extra: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **extra}


def actions(trajectory: Trajectory) -> list[Action]:
    return [action for step in trajectory.steps for action in step.actions]


def call(name: str, arguments: Any = "{}", call_id: str | None = "c1") -> dict[str, Any]:
    made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return made if call_id is None else {"id": call_id, **made}
