"""A trainer that follows a shard stream: each row is trained once, and its cursor lives and dies with a checkpoint.

A trainer reads ahead of what it trains, and looks at rows before it begins. So the follower counts by the trainer's
steps: rows that were handed out and not trained are given again, and no checkpoint says that they were read.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# pyright: reportMissingImports=false
from datasets import Dataset, IterableDataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from agenther_live.errors import ShardError
from agenther_live.shards.reading.follow import ShardStream
from agenther_live.shards.reading.tables import iterable_dataset

__all__ = ["ShardFollower"]

VERSION = "{consumer}-{step}"
ROUND, TORN = "agenther-round.json", "agenther-round.json.tmp"


class ShardFollower(TrainerCallback):
    """Feeds a trainer from a `ShardStream`, commits the stream on every save, and publishes the new policy version.

        follower = ShardFollower(ShardStream(root, "trl_sft", consumer="trainer-a", follow=True))
        resume = follower.resume("out")
        trainer = WeightedSFTTrainer(model, args, follower.dataset(), tokenizer, callbacks=[follower])
        trainer.train(resume_from_checkpoint=resume)

    The version stands in the consumer's note beside the shards (`Live.published_version(consumer)` reads it), so an
    agent can say which policy acts: `live.attach(agent, policy_version=live.published_version("trainer-a"))`.

    Args:
        stream: the stream, restored (`resume` does it) before the data set is made.
        policy_version: the name of a checkpoint's policy, with `{consumer}` and `{step}` filled in, or a function of
            the trainer's state. None: `{consumer}-{step}`.
    """

    def __init__(
        self, stream: ShardStream, *, policy_version: str | Callable[[TrainerState], str] | None = None
    ) -> None:
        """Take the stream; nothing is read yet."""
        self.stream = stream
        self._version = policy_version or VERSION
        self._rows: Iterator[dict[str, Any]] | None = None
        self._waiting: deque[dict[str, Any]] = deque()  # handed out, and not trained yet
        self._trained = 0
        self._ended = False
        self._round = False

    # -- data ------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the rows from behind the last trained one on."""
        at = self._trained
        while True:
            ahead = at - self._trained
            if ahead < len(self._waiting):
                row = self._waiting[ahead]
            else:
                found = self._next()
                if found is None:
                    self._ended = True
                    return
                self._waiting.append(found)
                row = found
            at += 1
            yield row

    def dataset(self) -> IterableDataset:
        """Give the rows as a data set for a trainer that runs while shards come; `max_steps` is needed.

        It is read in this process: `dataloader_num_workers` stays 0.
        """
        return iterable_dataset(self, self.stream.format)

    def take(
        self, min_rows: int = 1, timeout: float | None = None, *, max_rows: int | None = None, keep: Path | None = None
    ) -> Dataset:
        """Give what is there as a finite data set for one round; it is committed when the round is over.

        Args:
            min_rows: new rows that a round needs.
            timeout: seconds to wait for them, as in `ShardStream.take`.
            max_rows: new rows at most.
            keep: a folder to lay the round in. Where it lies there already it is given again, the same rows in the
                same order: so a trainer that was killed in the middle of a round goes on with it.

        Raises:
            TooFewRows: the timeout passed with fewer.
        """
        self._round = True
        if keep is not None and (keep / ROUND).is_file():
            self.stream.load_state_dict(json.loads((keep / ROUND).read_text()))
            return Dataset.load_from_disk(str(keep))
        rows = self.stream.take(min_rows, timeout, max_rows=max_rows)
        if keep is not None:
            rows.save_to_disk(str(keep))
            (keep / TORN).write_text(json.dumps(self.stream.state_dict()))
            (keep / TORN).replace(keep / ROUND)  # the last file of the folder: without it there is no round
        return rows

    def resume(self, output_dir: str | Path) -> str | None:
        """Restore the stream from the newest checkpoint that was committed; give its path, or None where there is none.

        A trainer that was killed while it saved leaves a checkpoint without a cursor: that one is passed over. Keep at
        least two checkpoints (`save_total_limit`). In a round that was taken with `keep`, give the newest checkpoint.
        """
        found = Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        numbered = [(int(path.name.rpartition("-")[2]), path) for path in found if path.name[-1:].isdigit()]
        for _, path in sorted(numbered, reverse=True):
            if not _finished(path / TRAINER_STATE_NAME):
                continue
            if self._round:
                return str(path)
            try:
                self.stream.restore(path)
            except ShardError:
                continue
            self._waiting.clear()
            self._rows, self._trained, self._ended = None, 0, False
            return str(path)
        return None

    # -- what the trainer tells ------------------------------------------------------------------------

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave the place in the data to the cursor: the trainer would skip as many rows again."""
        args.ignore_data_skip = not self._round

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count the rows of the step; save and leave off when the stream has come to its end.

        It ends where it is not followed, or was asked to stop. Rows that would fill no whole step are left for the next
        run: the trainer would accumulate their gradients and make no step of them.
        """
        if self._round:
            return
        batch = args.train_batch_size * args.world_size
        # The last batch may be a part of one: then no more rows wait.
        for _unused in range(min(batch * args.gradient_accumulation_steps, len(self._waiting))):
            self._waiting.popleft()
            self._trained += 1
        if self._ended and -(-len(self._waiting) // batch) < args.gradient_accumulation_steps:
            # Here and not at the end of the epoch: the trainer gets there by counting up to `max_steps`.
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Commit the stream into the checkpoint that was just written, and publish its policy version.

        A checkpoint in the middle of a round gets no cursor: a round counts when it is over.
        """
        if not state.is_world_process_zero or (self._round and state.global_step < state.max_steps):
            return
        folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        self.stream.commit(
            folder, rows=None if self._round else self._trained, policy_version=self.policy_version(state)
        )

    def policy_version(self, state: TrainerState) -> str:
        """Name the policy of this state."""
        if callable(self._version):
            return self._version(state)
        return self._version.format(consumer=self.stream.consumer, step=state.global_step)

    def _next(self) -> dict[str, Any] | None:
        # One iterator for the life of the stream: whoever stops reading does not stop the stream.
        if self._rows is None:
            self._rows = iter(self.stream)
        found = next(self._rows, None)
        if found is None:
            self._rows = None
        return found


def _finished(state: Path) -> bool:
    """Whether a checkpoint's last file is there, and not cut."""
    try:
        json.loads(state.read_bytes())
    except (OSError, ValueError):
        return False
    return True
