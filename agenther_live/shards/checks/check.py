"""Checks of shards and a whole root; what a single row must be is said in `rules`.

Used before a shard is published and by `agenther-live shards check`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from agenther_live.errors import ShardError, UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.rules import row_problems
from agenther_live.shards.files.catalog import README, SHAREGPT_README, TRAINER_INDEX, listed_files
from agenther_live.shards.files.heldout import HeldOut, is_held_out
from agenther_live.shards.files.manifest import MANIFEST, Entry, Manifest, live
from agenther_live.shards.files.statistics import measure, warnings
from agenther_live.shards.files.writer import shard_path
from agenther_live.shards.reading.stream import verified_lines
from agenther_live.shards.rows.formats import DIALECTS, conversation_of, trained, trains_final_answer

__all__ = ["Bad", "CheckReport", "Render", "check", "check_folder", "row_problems", "shard_problems"]

Render = Callable[[ShardFormat, Mapping[str, Any]], Sequence[str]]
"""Renders a row with a chat template, and says what is wrong with that (`templates.renderer`)."""


@dataclass(frozen=True)
class Bad:
    """A fault: in which file, in which row from 0 (None: of the file as a whole), and what it is."""

    path: str
    row: int | None
    reason: str


@dataclass
class CheckReport:
    """`checked` counts rows of live shards; `warnings` are about shards that are right and one-sided."""

    checked: int = 0
    bad: list[Bad] = field(default_factory=list)
    warnings: list[Bad] = field(default_factory=list)


def shard_problems(fmt: ShardFormat, lines: Sequence[bytes]) -> list[str]:
    """Give what is wrong with the rows of one shard, each and as a whole."""
    if not lines:
        return ["a shard without rows"]
    for index, line in enumerate(lines):
        if problems := row_problems(fmt, line):
            return [f"row {index}: {problems[0]}"]
    return list(_whole(fmt, [json.loads(line) for line in lines]))


def _whole(fmt: ShardFormat, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    flags = [flag for made in rows for flag in trained(fmt, made)]
    if all(flags) or not any(flags):
        yield f"the masks of all rows are all {str(bool(flags and flags[0])).lower()}"
    finals = sum(trains_final_answer(fmt, made) for made in rows)
    if 2 * finals < len(rows):
        yield f"only {finals} of {len(rows)} rows train a final answer"
    ids = [made["sample_id"] for made in rows if "sample_id" in made]
    if len(set(ids)) < len(ids):
        yield "a sample stands in it twice"
    if fmt == "trl_kto":
        owners = [made["trajectory_id"] for made in rows]
        for one, other in pairwise(owners):
            if one == other:
                yield f"two rows of trajectory {one} are neighbours"
                return


def check_folder(folder: Path, *, render: Render | None = None) -> CheckReport:
    """Check a folder that stands alone, such as a copy; what is held out is only known in its home.

    Raises:
        UsageError: it is no folder of shards.
    """
    # A slip in its name must not pass for shards without a fault; an empty one has nothing published yet.
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise UsageError(f"{folder}: no folder of shards, there is no {MANIFEST}")
    return check(folder, render=render)


def check(root: Path, *, held_out: HeldOut | None = None, render: Render | None = None) -> CheckReport:
    """Check a root of shards: the manifest, every live shard against it, each row, and what README and index list.

    A root without a manifest has nothing published, and nothing wrong. With `held_out`, rows whose goal is held out
    or too close to one that is are faults too; with `render`, rows that a chat template does not take.
    """
    report = CheckReport()
    manifest = Manifest(root)
    try:
        entries = manifest.entries()
        retractions = manifest.retractions()
    except ShardError as error:
        report.bad.append(Bad("manifest.jsonl", None, str(error)))
        return report
    retracted = {sample for known in retractions for sample in known.samples}
    if [known.seq for known in retractions] != list(range(1, len(retractions) + 1)):
        report.bad.append(Bad("retractions.jsonl", None, "the numbers of the retractions have a gap or a repeat"))
    report.bad += _order(entries)
    seen: dict[ShardFormat, set[str]] = {}
    current = live(entries)
    for entry in current:
        if entry.format not in DIALECTS:  # said already
            continue
        try:
            lines = verified_lines(root, entry)
        except ShardError as error:
            report.bad.append(Bad(entry.path, None, str(error)))
            continue
        report.checked += len(lines)
        before = len(report.bad)
        report.bad += _shard(entry, lines, retracted, seen.setdefault(entry.format, set()), held_out, render)
        if len(report.bad) == before:
            found = entry.statistics or measure(entry.format, [json.loads(line) for line in lines])
            report.warnings += [Bad(entry.path, None, text) for text in warnings(found, entry.rows)]
    if current:
        report.bad += _catalog(root, current)
    return report


def _order(entries: Iterable[Entry]) -> Iterator[Bad]:
    highest, revisions = 0, dict[int, int]()
    for entry in entries:
        if entry.format not in DIALECTS:
            yield Bad(entry.path, None, f"format {entry.format!r} is not known")
        if entry.revision == 0:
            if entry.seq <= highest:
                yield Bad(entry.path, None, f"number {entry.seq} comes after {highest}")
            highest = max(highest, entry.seq)
        elif entry.revision != revisions.get(entry.seq, -1) + 1:
            yield Bad(entry.path, None, f"revision {entry.revision} of shard {entry.seq} follows no earlier one")
        revisions[entry.seq] = entry.revision
        named = shard_path(entry.format, entry.seq, entry.revision, entry.files)
        if entry.path != named and (entry.rows or entry.path):
            yield Bad(entry.path, None, "the name is not that of its format, number and revision")


def _shard(
    entry: Entry,
    lines: Sequence[bytes],
    retracted: set[str],
    seen: set[str],
    held_out: HeldOut | None,
    render: Render | None,
) -> Iterator[Bad]:
    rows = []
    for index, line in enumerate(lines):
        problems = row_problems(entry.format, line)
        yield from (Bad(entry.path, index, problem) for problem in problems)
        if problems:
            continue
        made = json.loads(line)
        rows.append(made)
        sample = entry.samples[index] if index < len(entry.samples) else made.get("sample_id", "")
        if sample in retracted:
            yield Bad(entry.path, index, f"sample {sample} is retracted")
        if not sample or sample in seen:
            yield Bad(entry.path, index, f"sample {sample!r} is unnamed, or stands in this format twice")
        seen.add(sample)
        if held_out is not None and _held_out(entry.format, made, held_out):
            yield Bad(entry.path, index, f"sample {sample} has a goal that is held out, or close to one")
        if render:
            yield from (Bad(entry.path, index, problem) for problem in render(entry.format, made))
    if len(rows) == len(lines):
        # A revision may have lost the rows that balanced it; what is left was fit to be published.
        lost = ("final answer", "neighbours") if entry.revision else ()
        whole = _whole(entry.format, rows)
        yield from (Bad(entry.path, None, text) for text in whole if not any(word in text for word in lost))


def _held_out(fmt: ShardFormat, made: Mapping[str, Any], held_out: HeldOut) -> bool:
    if "goal" in made:
        goal, goals = str(made["goal"]), {str(made["goal"]), str(made["original_goal"])}
    else:  # a format without provenance: what was asked last
        asked = [message for message in conversation_of(fmt, made) if message["role"] == "user"]
        goal = str(asked[-1].get("content", "")) if asked else ""
        goals = {goal}
    return any(is_held_out(one, held_out.share) for one in goals if one) or held_out.conflicts(goal)


def _catalog(root: Path, current: Sequence[Entry]) -> Iterator[Bad]:
    files = listed_files(current)
    yield from _listed(root, README, {path for fmt, paths in files.items() if DIALECTS[fmt].listed for path in paths})
    try:
        index = json.loads((root / TRAINER_INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Bad(TRAINER_INDEX, None, f"the list for LLaMA-Factory cannot be read: {error}")
        return
    # An index of an earlier version of this package leads to the README of the whole root.
    if "sharegpt" in files and '"script_url": "sharegpt"' in json.dumps(index):
        yield from _listed(root, SHAREGPT_README, {path.removeprefix("sharegpt/") for path in files["sharegpt"]})


def _listed(root: Path, name: str, wanted: set[str]) -> Iterator[Bad]:
    """Compare the files that a README's head names with those that are live."""
    try:
        head = (root / name).read_text(encoding="utf-8").split("---")[1]
    except (OSError, ValueError, IndexError) as error:
        yield Bad(name, None, f"the list for other tools cannot be read: {error}")
        return
    lines = (line.strip() for line in head.splitlines())
    named = {line[2:] for line in lines if line.startswith("- ") and line.endswith((".jsonl", ".parquet"))}
    for path in sorted(named ^ wanted):
        yield Bad(path, None, f"listed in {name}, and not live" if path in named else f"live, and not in {name}")
