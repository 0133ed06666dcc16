"""How well the deterministic checks tell goals that a run reached from goals that it did not.

Positives: user goals of successful real runs; in the demo world, whose truth is known, user goals that were reached
and composed hindsight goals of failed runs that are true, apart. Negatives by hardness, one of each for every
positive where it can be made, seeded: a random foreign goal, the nearest foreign goal of the same source, the goal of
a task against a failed trial of it, a number or an entity of the goal swapped with one that stands in the run's own
evidence, a failed requirement put back (real sources: the failed goal itself), a write left out. In the demo world a
negative counts only if it is false in fact.

The checks: `mentions` (every checkable word of the goal is shown), `checks` (the engine's T, C and W: fields, compiled
limits, arguments, writes, choices), `and L` (besides, nothing that a result was the first to reveal), `rules` (`checks`
and what the judge `rules` wants proven). J = positives kept − negatives kept (Youden). Intervals: bootstrap over tasks.

    python benchmarks/ground.py --json ground.json
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from agenther_live.demo.catalogue import Offer
from agenther_live.demo.goals import Requirements, broken, read_goal
from agenther_live.demo.truth import goal_is_true
from agenther_live.labels import Analysis
from agenther_live.relabel import Policy, RulesExtractor
from agenther_live.relabel.checks.checks import contradicts
from agenther_live.relabel.checks.doubts import doubts
from agenther_live.relabel.checks.ground import leaked, ungrounded
from agenther_live.relabel.checks.grounds import proven_places
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.models import Case, Proposal, Refused, Requirement
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.templates.template import compose
from agenther_live.relabel.trust.canaries import ENTITIES, NUMBERS, nearest, put_back, swapped, without_write
from agenther_live.trajectory import Outcome, Trajectory
from benchmarks.common import (
    ABSENT,
    SEED,
    DemoRun,
    data_folder,
    demo_runs,
    grouped,
    interval,
    machine,
    records,
    save,
    show,
)

FAILED = Outcome(label="failure", source="reward")
LEVELS = ("mentions", "checks", "and L", "rules")
HARDNESS = (
    "random foreign",
    "nearest foreign",
    "other trial",
    "number swapped",
    "entity swapped",
    "requirement back",
    "write left out",
)
TASKS, QUICK_TASKS = 100, 40
LONGEST = 60  # messages of a real run; longer ones only repeat what is measured, at length


@dataclass(frozen=True)
class Subject:
    """A run with a goal that is true of it."""

    source: str
    task: str
    run: Trajectory
    goal: str
    answer: str | None
    false: Callable[[str], bool] | None = None  # the world's truth about another goal, where it is known


@dataclass(frozen=True)
class Tried:
    """One goal held against one run: which checks let it pass."""

    source: str
    task: str
    hardness: str  # 'true' for positives
    kept: dict[str, bool]
    goal: str = ""


def case_of(run: Trajectory) -> Case:
    """The run as the engine sees it."""
    analysis = Analysis(
        trajectory_id=run.trajectory_id, failure_type="wrong_result", severity=0.0, weight=1.0, recoverable=True
    )
    case = Case(run, FAILED, 1, view(run), Policy(), analysis)
    return replace(case, extraction=asyncio.run(RulesExtractor().extract(case)))


def check(run: Trajectory, goal: str, answer: str | None) -> dict[str, bool] | None:
    """Which checks let a goal pass for a run; None where nothing of the run can be shown."""
    case = case_of(run)
    shown = [i for call in case.view.calls if call.ok for i in (call.at, call.observed_at) if i is not None]
    if not shown:
        return None
    proposal = Proposal(goal, 1.0, True, max(shown) + 1, (Requirement(goal, tuple(shown)),), answer)
    try:
        candidate = demonstrate(case, proposal)
    except Refused:
        return None
    checked = contradicts(case, candidate) is None
    knowledge = Knowledge(case.view, end=candidate.end)
    return {
        "mentions": not ungrounded(goal, knowledge),
        "checks": checked,
        "and L": checked and not leaked(goal, knowledge, proven_places(case, candidate)),
        "rules": checked and doubts(case, candidate) is None,
    }


# --- positives --------------------------------------------------------------------------------------------------------


def real_subjects(found: Sequence[Any]) -> list[Subject]:
    return [
        Subject(record.source, record.task, record.trajectory, record.trajectory.goal, record.trajectory.final_answer)
        for record in found
        if record.success and record.trajectory.goal and len(record.trajectory.messages) <= LONGEST
    ]


def demo_subjects(runs: Sequence[DemoRun]) -> Iterator[Subject]:
    for run in runs:
        if run.reached:
            answer = run.trajectory.final_answer
            yield Subject(
                "demo: user goals", run.task.task_id, run.trajectory, run.task.goal, answer, _falsehood(run, answer)
            )
            continue
        try:
            proposal = compose(case_of(run.trajectory))[0]
        except Refused:
            continue
        goal, answer = proposal.hindsight_goal, proposal.final_answer
        false = _falsehood(run, answer)
        if not false(goal):
            yield Subject("demo: hindsight goals", run.task.task_id, run.trajectory, goal, answer, false)


def _falsehood(run: DemoRun, answer: str | None) -> Callable[[str], bool]:
    def false(goal: str) -> bool:
        wish = read_goal(goal)
        return wish is None or not goal_is_true(wish, run.orders, run.results(), answer)

    return false


# --- negatives --------------------------------------------------------------------------------------------------------


def nearest_of(subject: Subject, others: Sequence[Subject]) -> str | None:
    return nearest(subject.goal, [each.goal for each in others if each.task != subject.task])


def asked_only(wish: Requirements) -> str:
    """The demo world's order as a question: the write is left out."""
    city = f" delivered to {wish.city}" if wish.city else ""
    return f"What would {wish.quantity or 10} {wish.item}s cost{city}? Nothing is to be bought."


def limit_back(goal: str, run: DemoRun, order: Offer) -> str | None:
    """A hindsight goal with the limit that the order broke, in the user's own words."""
    return None if broken(run.task.requirements, order) is None else put_back(goal, run.task.goal)


def negatives(
    subject: Subject, everybody: Sequence[Subject], same: Sequence[Subject], rng: random.Random
) -> Iterator[tuple[str, str]]:
    seen = view(subject.run)
    foreign = [each for each in everybody if each.source != subject.source]
    if foreign:
        yield "random foreign", rng.choice(foreign).goal
    if (goal := nearest_of(subject, same)) is not None:
        yield "nearest foreign", goal
    for name, kinds in (("number swapped", NUMBERS), ("entity swapped", ENTITIES)):
        for _ in range(8):  # in the demo world some swaps leave a goal true
            swap = swapped(subject.goal, seen, rng, kinds)
            goal = swap.goal if swap else None
            if goal is None or subject.false is None or subject.false(goal):
                break
            goal = None
        if goal is not None:
            yield name, goal
    if subject.false is None:
        left_out = without_write(subject.goal, seen)
        if left_out is not None:
            yield "write left out", left_out
    elif any(call.ok and call.kind == "write" for call in seen.calls):
        wish = read_goal(subject.goal)
        if wish is not None and subject.false(text := asked_only(wish)):
            yield "write left out", text


def try_all(subjects: Sequence[Subject]) -> Iterator[Tried]:
    rng = random.Random(SEED)
    by_source: dict[str, list[Subject]] = defaultdict(list)
    for subject in subjects:
        by_source[subject.source].append(subject)
    for subject in subjects:
        kept = check(subject.run, subject.goal, subject.answer)
        if kept is None:
            continue
        yield Tried(subject.source, subject.task, "true", kept, subject.goal)
        for hardness, goal in negatives(subject, subjects, by_source[subject.source], rng):
            if subject.false is not None and not subject.false(goal):
                continue
            kept = check(subject.run, goal, subject.answer)
            if kept is not None:
                yield Tried(subject.source, subject.task, hardness, kept, goal)


def failed_trials(found: Sequence[Any]) -> Iterator[Tried]:
    """Real goals against failed trials: of a task that another trial reached, and of any (the failed goal itself)."""
    reached = {(record.source, record.task) for record in found if record.success}
    for record in found:
        run = record.trajectory
        if record.success is not False or not run.goal or len(run.messages) > LONGEST:
            continue
        kept = check(run, run.goal, run.final_answer)
        if kept is not None:
            yield Tried(record.source, record.task, "requirement back", kept)
            if (record.source, record.task) in reached:
                yield Tried(record.source, record.task, "other trial", kept)


def demo_trials(runs: Sequence[DemoRun], subjects: Sequence[Subject]) -> Iterator[Tried]:
    hindsight = {each.run.trajectory_id: each for each in subjects if each.source == "demo: hindsight goals"}
    reached = {run.task.task_id for run in runs if run.reached}
    for run in runs:
        if run.reached:
            continue
        answer, false = run.trajectory.final_answer, _falsehood(run, run.trajectory.final_answer)
        if run.task.task_id in reached and false(run.task.goal):
            kept = check(run.trajectory, run.task.goal, answer)
            if kept is not None:
                yield Tried("demo: user goals", run.task.task_id, "other trial", kept)
        subject = hindsight.get(run.trajectory.trajectory_id)
        for order in run.orders[:1] if subject else ():
            assert subject is not None
            goal = limit_back(subject.goal, run, order)
            if goal is not None and subject.false is not None and subject.false(goal):
                kept = check(run.trajectory, goal, subject.answer)
                if kept is not None:
                    yield Tried(subject.source, run.task.task_id, "requirement back", kept)


# --- scores -----------------------------------------------------------------------------------------------------------


def j_of(level: str) -> Callable[[Sequence[Tried]], float]:
    def statistic(items: Sequence[Tried]) -> float:
        true = [item.kept[level] for item in items if item.hardness == "true"]
        false = [item.kept[level] for item in items if item.hardness != "true"]
        return (sum(true) / len(true) if true else 0.0) - (sum(false) / len(false) if false else 0.0)

    return statistic


def scores(tried: Sequence[Tried], resamples: int) -> list[dict[str, Any]]:
    rows = []
    for items in grouped(tried, lambda item: item.source):
        true = [item for item in items if item.hardness == "true"]
        if not true:
            continue
        for hardness in ("true", *HARDNESS):
            some = [item for item in items if item.hardness == hardness]
            if not some:
                continue
            row: dict[str, Any] = {"source": items[0].source, "goals": hardness, "n": len(some)}
            for level in LEVELS:
                row[f"{level}: kept"] = sum(item.kept[level] for item in some) / len(some)
                if hardness != "true":
                    both = grouped([*true, *some], lambda item: item.task)
                    row[f"{level}: J"] = (
                        f"{j_of(level)([*true, *some]):.2f} ({interval(both, j_of(level), n=resamples)})"
                    )
                else:
                    row[f"{level}: J"] = ""
            rows.append(row)
    return rows


def target(tried: Sequence[Tried], level: str) -> dict[str, Any]:
    """The demo world's target: at least 80 % of hard swaps rejected at no more than 5 % of true goals lost."""
    demo = [item for item in tried if item.source.startswith("demo")]
    swaps = [item for item in demo if item.hardness in ("number swapped", "entity swapped")]
    true = [item for item in demo if item.hardness == "true"]
    rejected = sum(not item.kept[level] for item in swaps) / max(1, len(swaps))
    lost = sum(not item.kept[level] for item in true) / max(1, len(true))
    return {
        "check": level,
        "hard swaps": len(swaps),
        "rejected": round(rejected, 3),
        "true goals": len(true),
        "lost": round(lost, 3),
        "target": "met" if rejected >= 0.8 and lost <= 0.05 else "not met",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--demo", action="store_true", help="the demo world alone")
    parser.add_argument("--why", action="store_true", help="print what went wrong in the demo world, goal by goal")
    parser.add_argument("--quick", action="store_true", help="fewer demo runs and bootstrap samples")
    arguments = parser.parse_args()
    began = time.perf_counter()
    resamples = 100 if arguments.quick else 200
    print(machine())
    runs = list(demo_runs(QUICK_TASKS if arguments.quick else TASKS))
    subjects = list(demo_subjects(runs))
    folder = None if arguments.demo else data_folder()
    found = list(records(folder)) if folder else []
    if folder is None and not arguments.demo:
        print(ABSENT)
    tried = [*try_all([*subjects, *real_subjects(found)]), *demo_trials(runs, subjects), *failed_trials(found)]
    rows = scores(tried, resamples)
    show("goals kept, and J = true goals kept − these kept", rows)
    goals = [target(tried, level) for level in LEVELS]
    show("the demo world's target: ≥ 80 % of hard swaps rejected, ≤ 5 % of true goals lost", goals)
    for item in tried if arguments.why else ():
        if item.source.startswith("demo") and item.goal and item.kept["checks"] != (item.hardness == "true"):
            print(f"{item.source}, {item.hardness}: {item.goal}")
    print(f"{time.perf_counter() - began:.0f} s")
    save(arguments.json, {"scores": rows, "target": goals})


if __name__ == "__main__":
    main()
