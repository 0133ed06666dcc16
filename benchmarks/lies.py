"""False teachings written by hand, put to the checks: how many pass, by kind, and how many true twins are refused.

    python benchmarks/lies.py --json lies.json
    python benchmarks/lies.py --judge rules --wrong

The cases are tests/relabel/lies.jsonl. What no check refuses comes before a judge that says yes to everything, so the
tables are about the checks alone; `--judge rules` has the judge of that name there. `seen` cases were looked at while
checks were written, so only the `unseen` rows are a test. It ends with 1 where a case is judged wrong (before yes) and
the file does not say so, with 2 for a wrong option.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from benchmarks.common import grouped, machine, save, show
from tests.relabel.lies import FILE, Lie, judge_of, lies, teach


@dataclass(frozen=True)
class Judged:
    """A case, and what became of it: `why` is the word of the refusal with its detail."""

    lie: Lie
    accepted: bool
    why: str

    @property
    def right(self) -> bool:
        return self.accepted == self.lie.true


def interval(hits: int, n: int) -> str:
    """The 95 % interval of a share by Wilson's score, as text; as if the cases were drawn one by one."""
    if not n:
        return ""
    z, share = 1.959964, hits / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return f"{max(0.0, (middle - half) / (1 + z * z / n)):.2f} to {min(1.0, (middle + half) / (1 + z * z / n)):.2f}"


def judged(case: Lie, judge: str) -> Judged:
    done = teach(case, judge_of(judge))
    return Judged(case, done.sample is not None, f"{done.reason}: {done.detail}")


def row(name: str, items: Sequence[Judged]) -> dict[str, Any]:
    """Counts of one group: false ones that passed, true ones that were refused."""
    false, true = ([each for each in items if each.lie.true is truth] for truth in (False, True))
    passed, refused = sum(each.accepted for each in false), sum(not each.accepted for each in true)
    return {
        "cases": name,
        "false": len(false),
        "passed": passed,
        "passed, 95 %": interval(passed, len(false)),
        "true": len(true),
        "refused": refused,
        "refused, 95 %": interval(refused, len(true)),
    }


def first_row(items: Sequence[Judged]) -> dict[str, Any]:
    """One set: now, and when it was first put to the checks, where that was written down."""
    told = [each for each in items if each.lie.first is not None]
    before = row("", [Judged(each.lie, bool(each.lie.first), "") for each in told])
    kept = ("passed", "refused")
    then = {f"{word} at first": before[word] if told else "" for word in kept}
    return row(f"{items[0].lie.set} ({seen(items[0])})", items) | then


def seen(one: Judged) -> str:
    return "seen" if one.lie.seen else "unseen"


def pairs(items: Sequence[Judged]) -> dict[str, Any]:
    """Twins of one run: how often the true goal is accepted and the false one refused, and how often it is not so."""
    found = [
        (false, true)
        for twins in grouped(items, lambda each: repr((each.lie.prompt, each.lie.asked, each.lie.steps)))
        for false in twins
        for true in twins
        if true.lie.true and not false.lie.true
    ]
    told = {(False, True): "told apart", (False, False): "both refused", (True, True): "both accepted"}
    counts = dict.fromkeys(("cases", "pairs", *told.values(), "the wrong way round"), 0)
    for false, true in found:
        counts[told.get((false.accepted, true.accepted), "the wrong way round")] += 1
    return {**counts, "cases": seen(items[0]), "pairs": len(found)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python benchmarks/lies.py --unseen --wrong --json lies.json",
    )
    parser.add_argument("--json", type=Path, help="write the tables, and what became of each case")
    parser.add_argument("--judge", choices=("yes", "rules"), default="yes", help="who judges what passes the checks")
    parser.add_argument("--unseen", action="store_true", help="only cases that nobody saw who wrote checks")
    parser.add_argument("--kind", help="only cases of this kind")
    parser.add_argument("--wrong", action="store_true", help="print each case that is judged wrong, and why")
    parser.add_argument("--file", type=Path, default=FILE, help="cases of your own, in the form of %(default)s")
    arguments = parser.parse_args()
    try:
        cases = lies(arguments.file)
    except (OSError, ValueError, TypeError) as error:
        parser.error(f"no cases in {arguments.file}: {error}")
    some = [e for e in cases if not (arguments.unseen and e.seen) and arguments.kind in (None, e.kind)]
    if not some:
        parser.error(f"no such case; kinds: {', '.join(sorted({each.kind for each in cases}))}")
    print(machine())
    done = [judged(each, arguments.judge) for each in some]
    sets = [first_row(items) for items in grouped(done, lambda each: (each.lie.set, each.lie.seen))]
    show(f"false teachings before `{arguments.judge}`, by the set they were written with", sets)
    kinds = {}
    for items in grouped(sorted(done, key=lambda each: (each.lie.seen, each.lie.kind)), seen):
        rows = [row(each[0].lie.kind, each) for each in grouped(items, lambda each: each.lie.kind)]
        kinds[seen(items[0])] = [*rows, row("all", items)]
        show(f"by kind: {seen(items[0])}", kinds[seen(items[0])])
    twins = [pairs(items) for items in grouped(done, seen)]
    show("a false and a true goal of the same run", twins)
    for each in done if arguments.wrong else ():
        if not each.right:
            told = "passed" if each.accepted else f"refused, {each.why}"
            print(f"{each.lie.id}, {each.lie.kind}, {each.lie.true}: {each.lie.goal} | {each.lie.answer} | {told}")
    surprises = [each.lie.id for each in done if not each.right and not each.lie.known]
    better = [each.lie.id for each in done if each.right and each.lie.known] if arguments.judge == "yes" else []
    if better:
        print(f"judged right now, take `known` from them: {', '.join(better)}")
    if surprises and arguments.judge == "yes":
        print(f"judged wrong, and not known to be: {', '.join(surprises)}")
    result = {"judge": arguments.judge, "sets": sets, "kinds": kinds, "pairs": twins}
    save(arguments.json, result | {"cases": [asdict(e.lie) | {"accepted": e.accepted, "why": e.why} for e in done]})
    return 1 if surprises and arguments.judge == "yes" else 0


if __name__ == "__main__":
    sys.exit(main())
