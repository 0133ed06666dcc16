"""The loop as it is deployed: capture, relabel, publish, follow with TRL, deploy the new version, again.

`full` and `success` take all that their home has published, through `ShardStream`; `fresh` and `replay` go on from the
cursor of the round before and take what is new, alone or with as much drawn again as makes a quarter of the rows.
`claim` (unverified) is no setting of the product: its rows are built from the buffer by plain code, and given to the
same trainer.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import LlamaForCausalLM, PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import SFTConfig

from agenther_live import Live
from agenther_live.integrations.trl import ShardFollower, WeightedSFTTrainer
from agenther_live.shards.files.heldout import is_held_out
from examples.continual_loop.capture import capture, captured, home_of
from examples.continual_loop.language import tokenizer
from examples.continual_loop.study import drawn
from examples.continual_loop.worlds import HELD_OUT, Run, World

__all__ = ["rounds", "train_round"]

STEPS, RATE = 40, 1e-3
REPLAY = {"fresh": 0.0, "replay": 0.25}
"""Arms that go on from the cursor of the round before, and the share of rows that they draw again."""


def train_round(
    live: Live,
    model: LlamaForCausalLM,
    out: Path,
    rows: Any = None,
    *,
    steps: int = STEPS,
    after: Path | None = None,
    replay: float = 0.0,
) -> str | None:
    """One round of TRL on what was published (behind the round `after`; or on `rows`), which changes the model.

    Gives the new policy version, which is the name of the folder `out`.
    """
    follower = None
    if rows is None:
        stream = live.stream("trl_sft", consumer="trainer", max_staleness=4, replay_ratio=replay)
        follower = ShardFollower(stream, policy_version=out.name)
        if after is not None:
            follower.resume(after)
        rows = follower.take(1)
        hashes = list(rows["content_hash"])  # in shards rows stand by ids, which are new in each home
        rows = rows.select(sorted(range(len(hashes)), key=hashes.__getitem__))
    args = SFTConfig(
        str(out),
        max_steps=steps,
        per_device_train_batch_size=16,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_length=256,
        save_steps=steps,
        save_total_limit=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        logging_strategy="no",
        seed=0,
    )
    callbacks = [follower] if follower else []
    trainer = WeightedSFTTrainer(model, args, rows, tokenizer(), severity=True, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    disable_progress_bar()
    trainer.train()
    model.eval()
    return live.published_version("trainer") if follower else None


def rounds(job: Any, world: World, base: LlamaForCausalLM, measure: Any, folder: Path) -> list[dict[str, Any]]:
    """All arms, each in a home of its own, from the same policy and on the same goals.

    What is drawn again is asked in world B alone: it takes a minute, and world A a table solves.
    """
    records, start_of_all = [], measure.held(base)
    for arm in ("success", "claim", "full", *(REPLAY if job.world == "offers" else ())):
        model, version, runs = copy.deepcopy(base), "base", dict[str, Run]()
        records.append({"arm": arm, "round": 0, **start_of_all})
        kept: list[dict[str, Any]] = []
        with home_of(folder / arm, world, runs, relabels=arm in ("full", *REPLAY), seed=job.seed) as live:
            for number in range(1, job.size.rounds + 1):
                rng = random.Random(f"round {job.world} {job.seed} {number}")
                train = world.split()[0]
                goals = drawn(train, job.size.round_episodes, rng)
                start = 100_000 * (job.seed + 1) + 1000 * number
                capture(live, world, model, goals, [*range(start, start + len(goals))], runs, version=version)
                if arm == "claim":
                    kept += claimed_rows(world, captured(live, version=version))
                    train_round(live, model, folder / f"{arm}-{number}", Dataset.from_list(kept))
                    version = f"claim-{number}"
                else:
                    before = folder / f"{arm}-{number - 1}" if arm in REPLAY and number > 1 else None
                    out, share = folder / f"{arm}-{number}", REPLAY.get(arm, 0.0)
                    version = train_round(live, model, out, after=before, replay=share) or version
                rows = len(kept) if arm == "claim" else live.status()["samples"]
                reached = sum(runs[str(start + at)].world.reached(runs[str(start + at)]) for at in range(len(goals)))
                if arm == "full":
                    records.append({"arm": "lookup", "round": number, **measure.lookup(captured(live))})
                records.append(
                    {"arm": arm, "round": number, "samples": rows, "reached": reached, "version": version}
                    | measure.held(model)
                )
    return records


def claimed_rows(world: World, seen: Any) -> list[dict[str, Any]]:
    """Rows in the form of `trl_sft`: successes as published, failures whole under the goal that they claim."""
    rows = [(row["messages"], row["train"]) for row in seen.rows["trl_sft"] if row["kind"] == "success"]
    for each in seen.episodes:
        goal = None if each.reached else world.claimed(each.answer or "")
        if goal is not None and not is_held_out(goal.text, HELD_OUT):
            messages = [{"role": "user", "content": goal.text}, *each.messages[1:]]
            rows.append((messages, [message["role"] == "assistant" for message in messages]))
    return [
        {
            "messages": [_plain(message, train) for message, train in zip(messages, trained, strict=True)],
            "tools": "null",
            "weights": [1.0] * len(messages),
            "weight": 1.0,
        }
        for messages, trained in rows
    ]


def _plain(message: dict[str, Any], train: bool) -> dict[str, Any]:
    """A message with every key that any has, which a table of rows wants; arguments as objects."""
    calls = []
    for call in message.get("tool_calls") or ():
        args = call["function"]["arguments"]
        args = json.loads(args) if isinstance(args, str) else args
        calls.append({"type": "function", "function": {"name": call["function"]["name"], "arguments": args}})
    return {"role": message["role"], "content": message.get("content") or "", "tool_calls": calls, "train": train}
