"""Which samples get into a format, and in which mix: from waiting samples to checked rows."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from agenther_live.labels import Sample
from agenther_live.settings import Settings, ShardFormat
from agenther_live.shards.checks.rules import SECRET, row_problems
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.rows.canonical import RowRefused
from agenther_live.shards.rows.formats import encode, row, trains_final_answer

__all__ = ["Admitted", "Mixing", "Row", "admit", "blend", "kept"]

logger = logging.getLogger("agenther_live")


@dataclass(frozen=True)
class Mixing:
    """How samples are mixed.

    `success_share` is the share of a shard's rows that successes take at most (None: as they come). Samples of the
    formats in `keep_by_weight` get in with their weight as probability: for trainers that know no weights. Which do is
    fixed by `seed` and the sample's id.
    """

    success_share: float | None = None
    keep_by_weight: Collection[ShardFormat] = ()
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Mixing:
        """Take it from the settings."""
        return cls(settings.success_share, settings.keep_by_weight, settings.keep_seed)


@dataclass(frozen=True)
class Row:
    """A checked row: its sample, what it is made of, its line, and whether it trains a final answer."""

    sample: Sample
    made: dict[str, Any]
    line: bytes
    final: bool

    @property
    def sample_id(self) -> str:
        """The sample's id."""
        return self.sample.sample_id


@dataclass
class Admitted:
    """Rows that may be published; words (by sample id) for samples that this format, or any format, is closed to."""

    rows: list[Row] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)
    barred: dict[str, str] = field(default_factory=dict)


def kept(sample: Sample, seed: int) -> bool:
    """Say whether a sample is kept, with probability w: always the same for one seed and id."""
    digest = hashlib.sha256(f"{seed}\x1f{sample.sample_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < sample.weight * 2**64


def admit(
    fmt: ShardFormat,
    samples: Sequence[Sample],
    *,
    published: Collection[str],
    held_out: HeldOut | None,
    mixing: Mixing,
) -> Admitted:
    """Make the rows of waiting samples, oldest first; `published` are content hashes that the format has already."""
    found = Admitted()
    seen = set(published)
    for sample in samples:
        key = sample.sample_id
        if held_out is not None and (reason := held_out.reason(sample)):
            found.barred[key] = reason
        elif sample.content_hash in seen:
            found.aside[key] = "duplicate"
        elif fmt in mixing.keep_by_weight and not kept(sample, mixing.seed):
            found.aside[key] = "weight"
        else:
            made = _checked(fmt, sample, found)
            if made is not None:
                found.rows.append(made)
                seen.update({sample.content_hash} - {""})
    return found


def _checked(fmt: ShardFormat, sample: Sample, found: Admitted) -> Row | None:
    try:
        made = row(fmt, sample)
        line = encode(made)
    except RowRefused as error:
        found.aside[sample.sample_id] = error.reason
        return None
    except (ValueError, TypeError) as error:  # e.g. a cycle or a NaN in a foreign tool schema
        found.aside[sample.sample_id] = "encoding"
        logger.warning("sample %s cannot be written as %s: %s", sample.sample_id, fmt, error)
        return None
    problems = row_problems(fmt, line)
    if not problems:
        return Row(sample, made, line, trains_final_answer(fmt, made))
    if problems[0].startswith(SECRET):
        found.barred[sample.sample_id] = "secret"
    else:
        found.aside[sample.sample_id] = "check"
    logger.warning("sample %s fails the check of %s: %s", sample.sample_id, fmt, problems[0])
    return None


def blend(rows: Sequence[Row], share: float | None) -> tuple[list[Row], list[Row]]:
    """Order rows so that successes are at most `share` of any beginning; the second result are those too many."""
    if share is None or share >= 1:
        return list(rows), []
    successes = [one for one in rows if one.sample.kind == "success"]
    mixed: list[Row] = []
    taken = 0
    for one in (each for each in rows if each.sample.kind != "success"):
        mixed.append(one)
        while taken < len(successes) and taken + 1 <= share * (len(mixed) + 1):
            mixed.append(successes[taken])
            taken += 1
    return mixed, successes[taken:]
