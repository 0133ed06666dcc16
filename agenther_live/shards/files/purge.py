"""What a deletion asks of a folder of shards: who has read which, and that no byte of a replaced file stays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError
from agenther_live.shards.files.manifest import Manifest, live
from agenther_live.shards.files.writer import TEMPORARY, sync_folder

__all__ = ["Reading", "readers", "remove_replaced"]


@dataclass(frozen=True)
class Reading:
    """A consumer that had read such shards, up to `seq`. `at` is epoch seconds; `policy_version` where it said so."""

    consumer: str
    format: str
    seq: int
    at: float | None = None
    policy_version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return asdict(self)


def readers(root: Path, shards: Mapping[int, str]) -> list[Reading]:
    """Give the consumers whose notes (`consumers/NAME.json`) say that they had read any of these shards (seq → format).

    A note that cannot be read names its consumer, as one that may have read everything.
    """
    found = []
    for path in sorted((root / "consumers").glob("*.json")):
        reading = _reading(path)
        if any(seq <= reading.seq and reading.format in (fmt, "?") for seq, fmt in shards.items()):
            found.append(reading)
    return found


def _reading(path: Path) -> Reading:
    try:
        note = orjson.loads(path.read_bytes())
        version = note.get("policy_version")
        at = note.get("at")
        return Reading(
            str(note.get("consumer") or path.stem),
            str(note["format"]),
            int(note["seq"]),
            float(at) if isinstance(at, int | float) else None,
            None if version is None else str(version),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Reading(path.stem, "?", 2**63 - 1)


def remove_replaced(root: Path, seqs: Collection[int]) -> list[str]:
    """Remove the files of these shards that are no longer live; gives their paths below `root`.

    For data that must be gone. Other retractions leave them for whoever is reading them.

    Raises:
        ShardError: a file cannot be removed, or the manifest cannot be read.
    """
    entries = Manifest(root).entries()
    kept = {entry.path for entry in live(entries)}
    old = {entry.path for entry in entries if entry.seq in seqs and entry.path and entry.path not in kept}
    drafts = {str(path.relative_to(root)) for seq in seqs for path in (root / TEMPORARY).glob(f"*{seq:08d}.*")}
    removed = []
    try:
        for name in sorted(old | drafts):
            path = root / name
            if path.exists():
                path.unlink()
                removed.append(name)
        for folder in {(root / name).parent for name in removed}:
            sync_folder(folder)
    except OSError as error:
        raise ShardError(f"{error.filename} cannot be removed: {error.strerror or error}") from error
    return removed
