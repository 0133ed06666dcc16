"""The study as jobs for two processes: each job gives flat records, from which tables and plots are made.

A record is one figure of one arm: world, seed, rate of lies, and the shares of held-out goals reached (`success`) and
reached with a final answer that is true (`honest`).
"""

from __future__ import annotations

import os
import pickle
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from examples.continual_loop.arms import ARMS, noisy, subset
from examples.continual_loop.capture import Captured, capture, captured, home_of
from examples.continual_loop.lookup import looked_up
from examples.continual_loop.policy import new_model, play
from examples.continual_loop.training import Recipe, fit, fit_on
from examples.continual_loop.upbringing import Faults, bring_up, go_on
from examples.continual_loop.worlds import WORLDS, Goal, Run, World

__all__ = ["FULL", "SMALL", "Job", "Size", "bases", "jobs", "perform"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    seeds: int = 5
    episodes: int = 160
    train_goals: int = 200
    held_goals: int = 500
    up_steps: dict[str, int] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    lies: tuple[float, ...] = (0.0, 0.2)
    """Besides the rate of the main table."""
    sweep_seeds: int = 2
    noise: tuple[float, ...] = (0.1, 0.3)
    extra_seeds: int = 2
    """Seeds of the noise sweep and of the curve."""
    curve: tuple[int, ...] = (40, 80)
    rounds: int = 3
    round_seeds: int = 1
    round_episodes: int = 60
    arms: tuple[str, ...] = tuple(ARMS)

    def steps(self, world: str) -> int:
        """Steps of the upbringing."""
        return (self.up_steps or {"parcels": 250, "offers": 300})[world]


FULL = Size()
SMALL = Size(
    seeds=1,
    episodes=60,
    train_goals=60,
    held_goals=150,
    recipe=Recipe(steps=60, every=30, more_steps=20),
    lies=(),
    sweep_seeds=0,
    extra_seeds=0,
    rounds=2,
    round_seeds=1,
    round_episodes=30,
)
MAIN_LIES = 0.10


@dataclass(frozen=True)
class Job:
    """One piece of work for a process."""

    kind: str
    world: str
    seed: int
    lies: float
    size: Size
    out: Path

    @property
    def title(self) -> str:
        """For the progress bar."""
        return f"{self.kind} {WORLDS[self.world].title} lies {self.lies:.0%} seed {self.seed}"


def bases(size: Size, out: Path, worlds: Sequence[str]) -> list[list[Job]]:
    """The upbringings: first those of the main rate, then those that go on from there."""
    first = [Job("upbringing", world, 0, MAIN_LIES, size, out) for world in worlds]
    return [first, [Job("upbringing", world, 0, lies, size, out) for world in worlds for lies in size.lies]]


def jobs(size: Size, out: Path, worlds: Sequence[str]) -> list[Job]:
    """All that needs the policies, the longest first."""
    made = [Job("arms", world, seed, MAIN_LIES, size, out) for seed in range(size.seeds) for world in worlds]
    made += [Job("rounds", world, seed, MAIN_LIES, size, out) for seed in range(size.round_seeds) for world in worlds]
    made += [
        Job("sweep", world, seed, lies, size, out)
        for seed in range(size.sweep_seeds)
        for lies in size.lies
        for world in worlds
    ]
    return made


def perform(job: Job) -> list[Record]:
    """Do a job; every record tells its CPU seconds' share by the last one, of arm `cpu`."""
    torch.set_num_threads(1)
    begun = time.process_time()
    world = WORLDS[job.world]
    records = {"upbringing": _upbringing, "arms": _arms, "sweep": _sweep, "rounds": _rounds}[job.kind](job, world)
    spent = {"arm": "cpu", "seconds": round(time.process_time() - begun, 1)}
    about = {"job": job.kind, "world": job.world, "seed": job.seed, "lies": job.lies}
    return [{**about, **record} for record in [*records, spent]]


def base_path(job: Job, lies: float) -> Path:
    """Where the weights of an upbringing lie."""
    return job.out / "bases" / f"{job.world}-{round(100 * lies)}.pt"


def _base(job: Job, lies: float | None = None) -> LlamaForCausalLM:
    model = new_model()
    model.load_state_dict(torch.load(base_path(job, job.lies if lies is None else lies)))
    return model.eval()


def _upbringing(job: Job, world: World) -> list[Record]:
    faults, path = replace(Faults(), lies=job.lies), base_path(job, job.lies)
    if job.lies == MAIN_LIES:
        model = bring_up(world, faults, steps=job.size.steps(job.world))
    else:
        model = go_on(_base(job, MAIN_LIES), world, faults)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return [{"arm": "base", **Measure(job, world).held(model)}]


class Measure:
    """The goals and seeds by which a job's policies are compared: the same for all arms."""

    def __init__(self, job: Job, world: World) -> None:
        rng = random.Random(f"measure {job.world} {job.seed}")
        train, held = world.split()
        self._first: float | None = None
        self.world, start = world, 1_000_000 * (job.seed + 1)
        self.train_goals = drawn(train, job.size.train_goals, rng)
        self.held_goals = drawn(held, job.size.held_goals, rng)
        self.train_seeds = range(start, start + job.size.train_goals)
        self.held_seeds = range(start + 500_000, start + 500_000 + job.size.held_goals)

    def train(self, model: LlamaForCausalLM) -> float:
        """The share of train goals reached, for early stopping."""
        played = play(model, self.world, self.train_goals, self.train_seeds)
        return sum(each.reached for each in played) / len(played)

    def first(self, base: LlamaForCausalLM) -> float:
        """The base's share of train goals, which is measured once."""
        if self._first is None:
            self._first = self.train(base)
        return self._first

    def held(self, model: LlamaForCausalLM) -> Record:
        """The shares of held-out goals reached, and reached with a true answer."""
        played = play(model, self.world, self.held_goals, self.held_seeds)
        honest = sum(each.reached and each.run.honest(each.answer) for each in played)
        return {"success": sum(each.reached for each in played) / len(played), "honest": honest / len(played)}

    def lookup(self, seen: Captured) -> Record:
        """The table's."""
        return {"success": looked_up(self.world, seen, self.held_goals, self.held_seeds)}


def drawn(goals: Sequence[Goal], n: int, rng: random.Random) -> list[Goal]:
    """Goals at random, but each part about as often as any other: of some at a time the one whose parts were rarest."""
    counts: Counter[tuple[str, Any]] = Counter()
    found = []
    for _ in range(n):
        goal = min(rng.choices(goals, k=16), key=lambda each: sum(counts[part] for part in vars(each).items()))
        counts.update(vars(goal).items())
        found.append(goal)
    return found


def goals_of(job: Job, world: World, n: int) -> tuple[list[Goal], list[int]]:
    """Goals to capture, each tried twice (pairs need a goal that was met once and missed once), and episode seeds."""
    rng = random.Random(f"goals {job.world} {job.seed}")
    once = drawn(world.split()[0], (n + 1) // 2, rng)
    return [goal for goal in once for _ in range(2)][:n], [10_000 * (job.seed + 1) + at for at in range(n)]


def _captured(job: Job, world: World, model: LlamaForCausalLM, n: int) -> Captured:
    """The episodes of a job, captured once and kept."""
    path = job.out / "captured" / f"{job.world}-{round(100 * job.lies)}-{job.seed}-{n}.pickle"
    if path.exists():
        found: Captured = pickle.loads(path.read_bytes())
        return found
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as folder, home_of(Path(folder) / "home", world, runs, seed=job.seed) as live:
        goals, seeds = goals_of(job, world, n)
        capture(live, world, model, goals, seeds, runs, version="base")
        seen = captured(live)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(seen))
    return seen


def _trained(job: Job, world: World, base: LlamaForCausalLM, seen: Captured, name: str, measure: Measure) -> Record:
    return _made(job, world, base, seen, name, measure)[0]


def _made(
    job: Job, world: World, base: LlamaForCausalLM, seen: Captured, name: str, measure: Measure
) -> tuple[Record, LlamaForCausalLM]:
    """An arm's record, and its policy. `success` is of the best step on train goals, `last` of the last step."""
    arm = ARMS[name]
    examples = arm.examples(world, seen)
    model, last, scores = fit(base, examples, job.size.recipe, measure.train, first=measure.first(base), seed=job.seed)
    best = max(scores, key=lambda step: scores[step])
    record: Record = {"arm": name, "samples": len(examples), "step": best, "scores": scores, **measure.held(model)}
    record["last"] = measure.held(last)["success"] if best != max(scores) else record["success"]
    return record, model


def _after(job: Job, world: World, start: LlamaForCausalLM, seen: Captured, name: str, measure: Measure) -> Record:
    """The record of an arm that goes on from another's policy: of its last step, there is no other choice."""
    arm = ARMS[name]
    examples, pairs = arm.examples(world, seen), arm.pairs(seen) if arm.pairs else []
    if arm.pairs and not pairs:
        return {"arm": name, "samples": len(examples), "pairs": 0}
    figures = measure.held(fit_on(start, examples, pairs, job.size.recipe, nll=arm.nll, seed=job.seed))
    return {"arm": name, "samples": len(examples), "pairs": len(pairs), **figures, "last": figures["success"]}


def _counts(seen: Captured) -> Record:
    reached = sum(each.reached for each in seen.episodes)
    hindsight = sum(row["kind"] == "hindsight" for row in seen.rows["trl_sft"])
    refused: dict[str, int] = {}
    for each in seen.episodes:
        for _, reason in each.proposals:
            refused[reason] = refused.get(reason, 0) + 1
    return {
        "arm": "captured",
        "episodes": len(seen.episodes),
        "reached": reached,
        "hindsight": hindsight,
        "proposals": refused,
    }


def _arms(job: Job, world: World) -> list[Record]:
    base, measure, size = _base(job), Measure(job, world), job.size
    seen = _captured(job, world, base, size.episodes)
    records: list[Record] = [_counts(seen), {"arm": "base", **measure.held(base)}]
    records.append({"arm": "lookup", **measure.lookup(seen)})
    policies: dict[str, LlamaForCausalLM] = {}
    for name in size.arms:
        after = ARMS[name].after
        if name == "without_c" and len(ARMS[name].examples(world, seen)) == len(ARMS["verified"].examples(world, seen)):
            record = {**next(each for each in records if each["arm"] == "verified"), "arm": name}  # (C) refused nothing
        elif after is None:
            record, policies[name] = _made(job, world, base, seen, name, measure)
        else:
            record = _after(job, world, policies[after], seen, name, measure)
        records.append(record)
    if job.seed < size.extra_seeds:
        for n in size.curve:
            some = subset(seen, n)
            records.append({"curve": n, "arm": "lookup", **measure.lookup(some)})
            for name in ("success", "severity"):
                records.append({"curve": n, **_trained(job, world, base, some, name, measure)})
        for share in size.noise:
            for systematic in (False, True):
                worse = noisy(world, seen, share, systematic=systematic, seed=job.seed)
                made = _trained(job, world, base, worse, "masks", measure)
                records.append({"noise": share, "systematic": systematic, **made})
    return records


def _sweep(job: Job, world: World) -> list[Record]:
    base, measure = _base(job), Measure(job, world)
    seen = _captured(job, world, base, job.size.episodes)
    records: list[Record] = [_counts(seen), {"arm": "base", **measure.held(base)}]
    records.append({"arm": "lookup", **measure.lookup(seen)})
    records += [_trained(job, world, base, seen, name, measure) for name in ("success", "claim", "verified", "masks")]
    return records


def _rounds(job: Job, world: World) -> list[Record]:
    from examples.continual_loop.rounds import rounds  # TRL takes seconds to import

    measure = Measure(job, world)
    with tempfile.TemporaryDirectory() as folder:
        return rounds(job, world, _base(job), measure, Path(folder))


def quiet() -> None:
    """Set up a process for jobs: one thread, no network, no bars of others."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1", "AGENTHER_HOME": ""}
    os.environ.pop("AGENTHER_HOME")
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of its own settings' names
    logging.getLogger("agenther_live").setLevel(logging.ERROR)  # all goals of a world begin alike, and it says so
    torch.set_num_threads(1)


Progress = Callable[[str, int, int], None]
