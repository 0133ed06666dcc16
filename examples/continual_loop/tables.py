"""From records to tables with paired 95 % intervals, and the four statements that the study asserts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from examples.continual_loop.arms import ARMS
from examples.continual_loop.study import MAIN_LIES

__all__ = ["Table", "assertions", "paired", "tables"]

Record = dict[str, Any]
TITLES = {"base": "base policy", "lookup": "lookup table, nothing learned"} | {
    name: arm.title for name, arm in ARMS.items()
}
# Student's t for a two-sided 95 % interval, by degrees of freedom; the differences of seeds are few.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


@dataclass(frozen=True)
class Table:
    """A title and rows of cells, all of the same columns."""

    title: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Interval:
    """A mean of differences with its paired 95 % interval, in points; without bounds for a single seed."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:+.0f}"
        return f"{self.mean:+.0f} [{self.low:+.0f}, {self.high:+.0f}]"


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Interval:
    """The mean difference over the seeds that both have, in points, with Student's interval."""
    found = [100 * (ours[seed] - theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]
    if not found:
        return Interval(math.nan, math.nan, math.nan)
    if len(found) == 1:
        return Interval(found[0], math.nan, math.nan)
    half = _T.get(len(found) - 1, 1.96) * stdev(found) / math.sqrt(len(found))
    return Interval(fmean(found), fmean(found) - half, fmean(found) + half)


def by_seed(records: Sequence[Record], key: str = "success", **wanted: Any) -> dict[int, float]:
    """One figure of each seed: the records whose fields are those wanted (None: absent)."""
    return {
        record["seed"]: record[key]
        for record in records
        if key in record and all(record.get(name) == value for name, value in wanted.items())
    }


def _percent(values: dict[int, float]) -> str:
    return f"{100 * fmean(values.values()):.0f}" if values else "–"


def _mean(values: dict[int, float]) -> str:
    return f"{fmean(values.values()):.0f}" if values else ""


def _plain(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """The records of whole arms, without those of the curve and the noise."""
    found = [each for each in records if "curve" not in each and "noise" not in each and "round" not in each]
    return [each for each in found if all(each.get(name) == value for name, value in wanted.items())]


def tables(records: Sequence[Record], worlds: dict[str, str]) -> list[Table]:
    """All tables that the records allow."""
    made = []
    for world, title in worlds.items():
        here = [record for record in records if record["world"] == world]
        made += [
            _arms(here, title),
            _sweep(here, title),
            _noise(here, title),
            _curve(here, title),
            _rounds(here, title),
        ]
    return [table for table in made if table.rows]


def _arms(records: Sequence[Record], title: str) -> Table:
    main = _plain(records, job="arms", lies=MAIN_LIES)
    success, rows = by_seed(main, arm="success"), []
    for arm, name in TITLES.items():
        values = by_seed(main, arm=arm)
        if values:
            rows.append(
                {
                    "arm": name,
                    "success %": _percent(values),
                    "and a true answer %": _percent(by_seed(main, "honest", arm=arm)),
                    "at the last step %": _percent(by_seed(main, "last", arm=arm)),
                    "− base": str(paired(values, by_seed(main, arm="base"))) if arm != "base" else "",
                    "− success only": str(paired(values, success)) if arm != "success" else "",
                    "samples": _mean(by_seed(main, "samples", arm=arm)),
                    "best step": _mean(by_seed(main, "step", arm=arm)),
                    "pairs": _mean(by_seed(main, "pairs", arm=arm)),
                }
            )
    return Table(f"World {title}: arms on the same episodes, {len(success)} seeds", rows)


def _sweep(records: Sequence[Record], title: str) -> Table:
    rows = []
    for lies in sorted({record["lies"] for record in records if record["job"] in ("sweep", "arms")}):
        here = _plain(records, lies=lies)
        here = [record for record in here if record["job"] in ("sweep", "arms")]
        verified = by_seed(here, arm="verified")
        rows.append(
            {
                "failed runs that lie": f"{lies:.0%}",
                **{
                    TITLES[arm]: _percent(by_seed(here, arm=arm))
                    for arm in ("base", "lookup", "success", "claim", "verified")
                },
                TITLES["masks"]: _percent(by_seed(here, arm="masks")),
                "verified − claim": str(paired(verified, by_seed(here, arm="claim"))),
                "masks − verified": str(paired(by_seed(here, arm="masks"), verified)),
                "the same, with a true answer": str(
                    paired(by_seed(here, "honest", arm="masks"), by_seed(here, "honest", arm="verified"))
                ),
            }
        )
    return Table(f"World {title}: false claims", rows if len(rows) > 1 else [])


def _noise(records: Sequence[Record], title: str) -> Table:
    whole, rows = _plain(records, job="arms"), []
    seeds = {record["seed"] for record in records if "noise" in record}
    clean, table = (
        {seed: value for seed, value in by_seed(whole, arm=arm).items() if seed in seeds} for arm in ("masks", "lookup")
    )
    for share in sorted({record["noise"] for record in records if "noise" in record}):
        row: dict[str, Any] = {"words misread": f"{share:.0%}", TITLES["lookup"]: _percent(table)}
        for systematic, name in ((False, "at random"), (True, "systematically")):
            values = by_seed(records, noise=share, systematic=systematic)
            row |= {f"{name} %": _percent(values), f"{name} − none": str(paired(values, clean))}
        rows.append(row)
    return Table(f"World {title}: label noise ({TITLES['masks']}; none: {_percent(clean)} %)", rows)


def _curve(records: Sequence[Record], title: str) -> Table:
    rows = []
    whole = _plain(records, job="arms")
    last = max((record.get("episodes", 0) for record in whole), default=0)
    sizes = sorted({record["curve"] for record in records if "curve" in record})
    for n in [*sizes, last] if sizes else []:
        here = whole if n == last else [record for record in records if record.get("curve") == n]
        full, success = by_seed(here, arm="severity"), by_seed(here, arm="success")
        both = full.keys() & by_seed(records, curve=sizes[0], arm="severity").keys()
        full, success = ({seed: each[seed] for seed in both} for each in (full, success))
        table = {seed: value for seed, value in by_seed(here, arm="lookup").items() if seed in both}
        rows.append(
            {
                "episodes": n,
                "lookup table": _percent(table),
                "success only": _percent(success),
                "full": _percent(full),
                "full − success only": str(paired(full, success)),
            }
        )
    return Table(f"World {title}: episodes", rows)


def _rounds(records: Sequence[Record], title: str) -> Table:
    here, rows = [record for record in records if record["job"] == "rounds" and "round" in record], []
    for number in sorted({record["round"] for record in here}):
        arms = ("lookup", "success", "claim", "full", "fresh", "replay")
        values = {arm: by_seed(here, round=number, arm=arm) for arm in arms}
        rows.append(
            {
                "round": number,
                TITLES["lookup"]: _percent(values["lookup"]),
                "success only": _percent(values["success"]),
                "unverified": _percent(values["claim"]),
                "full": _percent(values["full"]),
                "full − success only": str(paired(values["full"], values["success"])),
            }
            | (
                {
                    "full, a round's new rows alone": _percent(values["fresh"]),
                    "and a quarter drawn again": _percent(values["replay"]),
                }
                if any(record["arm"] == "replay" for record in here)
                else {}
            )
        )
    return Table(f"World {title}: rounds by TRL through the shards", rows)


def assertions(records: Sequence[Record], worlds: dict[str, str]) -> list[tuple[str, bool | None, str]]:
    """What the study asserts: the sentence, whether it held (None: not looked at), and the figures."""
    found: list[tuple[str, bool | None, str]] = []

    def state(sentence: str, interval: Interval, held: bool) -> None:
        known = not math.isnan(interval.mean)
        found.append((sentence, held if known else None, str(interval) if known else "no figures"))

    for world, title in worlds.items():
        main = _plain(records, job="arms", world=world, lies=MAIN_LIES)
        success, base = by_seed(main, arm="success"), by_seed(main, arm="base")
        gain = paired(by_seed(main, arm="severity"), success)
        low = gain.mean if math.isnan(gain.low) else gain.low
        state(f"{title}: full − success only, lower bound > 15 points", gain, low > 15)
        for key, where in (("success", ""), ("last", " (at the last step)")):
            own = paired(by_seed(main, key, arm="original"), base)
            state(f"{title}: failures under their original goal{where} at most base + 5", own, own.mean <= 5)
        honest = [each for each in _plain(records, world=world, lies=0.0) if each["job"] == "sweep"]
        cost = paired(by_seed(honest, arm="masks"), by_seed(honest, arm="verified"))
        state(f"{title}: masks cost at most 3 points where nobody lies", cost, cost.mean >= -3)
        if world == "offers":
            choice = paired(by_seed(main, arm="verified"), by_seed(main, arm="without_c"))
            low = choice.mean if math.isnan(choice.low) else choice.low
            state(f"{title}: verified with (C) beats verified without (C)", choice, low > 0)
    return found
