"""After a retraction: a shard that holds such rows is replaced by its next revision, without them.

The old file stays as it was, for those who are reading it; it is only no longer live. A revision follows from the
old bytes and the retractions alone, so a killed process is made up for by doing it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from agenther_live.shards.files.manifest import Entry, Manifest, live
from agenther_live.shards.files.statistics import measure
from agenther_live.shards.files.writer import write_shard
from agenther_live.shards.reading.stream import verified_lines

__all__ = ["clean_shards"]


def _ids(entry: Entry, lines: list[bytes]) -> list[str]:
    return list(entry.samples) or [orjson.loads(line)["sample_id"] for line in lines]


def _measured(entry: Entry, lines: list[bytes]) -> dict[str, Any]:
    """Measure what stays; where the rows do not say where they come from, the older figures stand for it."""
    found = measure(entry.format, [orjson.loads(line) for line in lines])
    if entry.samples:
        found |= {name: value for name, value in entry.statistics.items() if name in ("goals", "kinds", "lineage")}
    return found | {"lineage": {**found["lineage"], "parents": [entry.path]}}


def clean_shards(root: Path, where: Collection[int] | None, *, at: float, step: Callable[[str], None]) -> list[Entry]:
    """Replace each live shard that holds retracted rows; give the new entries. `at` is epoch seconds.

    `where` names the shards to look into; None is all of them, which reads every live file.

    Raises:
        ShardError: where a shard has other bytes than the manifest says, or the volume refuses.
    """
    manifest = Manifest(root)
    retractions = manifest.retractions()
    if not retractions:
        return []
    gone = {sample for known in retractions for sample in known.samples}
    added = []
    for entry in live(manifest.entries()):
        if where is not None and entry.seq not in where:
            continue
        lines = verified_lines(root, entry)
        ids = _ids(entry, lines)
        if gone.isdisjoint(ids):
            continue
        kept = [(sample, line) for sample, line in zip(ids, lines, strict=True) if sample not in gone]
        revision = entry.revision + 1
        fresh = replace(
            entry,
            revision=revision,
            retractions=retractions[-1].seq,
            published_at=at,
            rows=len(kept),
            path="",
            statistics=_measured(entry, [line for _, line in kept]),
        )
        if kept:
            shard = write_shard(
                root, entry.seq, entry.format, [line for _, line in kept], revision=revision, files=entry.files
            )
            samples = tuple(sample for sample, _ in kept) if entry.samples else ()
            fresh = replace(fresh, path=shard.path, sha256=shard.sha256, bytes=shard.bytes, samples=samples)
        else:
            fresh = replace(fresh, sha256="", bytes=0, samples=())
        step("revised")
        manifest.add(fresh)
        step("revision_listed")
        added.append(fresh)
    return added
