"""A trainer that follows the shards: each row once, also when it is killed; a policy version for each checkpoint."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from agenther_live.errors import TooFewRows
from agenther_live.integrations.trl import ShardFollower, WeightedSFTTrainer
from agenther_live.shards.reading.follow import ShardStream
from tests.trainers import tiny

FORMAT = "trl_sft"


@pytest.fixture
def root(shards: Path, tmp_path: Path) -> Path:
    """Shards of this test's own: a reader leaves a note beside them."""
    return Path(shutil.copytree(shards, tmp_path / "shards"))


class Seen(WeightedSFTTrainer):
    """Keeps the ids of the rows that went through a training step."""

    def __init__(self, *args: Any, log: Path, **more: Any) -> None:
        super().__init__(*args, **more)
        self.log_path = log
        collate = self.data_collator

        def with_ids(rows: Any) -> Any:
            return {**collate(rows), "ids": [row["sample_id"] for row in rows]}

        self.data_collator = with_ids

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        ids = inputs.pop("ids")
        with self.log_path.open("a") as file:
            file.write(json.dumps(ids) + "\n")
        return super().compute_loss(model, inputs, *args, **more)


def trainer(rows: Any, follower: ShardFollower, tokenizer: Any, out: Path, log: Path, **more: Any) -> Seen:
    given = {"max_steps": 4, "per_device_train_batch_size": 2, "save_steps": 1, "max_length": 256}
    args = SFTConfig(str(out), report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, **{**given, **more})
    return Seen(tiny.model(len(tokenizer)), args, rows, tokenizer, callbacks=[follower], log=log)


def stream(root: Path, **more: Any) -> ShardStream:
    return ShardStream(root, FORMAT, consumer="t", **{"replay_ratio": 0.0, "max_staleness": None, **more})


def seen(log: Path) -> list[str]:
    return [name for line in log.read_text().splitlines() for name in json.loads(line)]


def test_rows_are_trained_once_across_checkpoints(root: Path, rows: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The trainer looks at rows before it begins and reads ahead of its steps: neither loses nor repeats one."""
    log, out = tmp_path / "seen.jsonl", tmp_path / "out"
    for steps in (2, 5, 1000):
        follower = ShardFollower(stream(root))
        resume = follower.resume(out)
        running = trainer(follower.dataset(), follower, tokenizer, out, log, max_steps=steps)
        running.train(resume_from_checkpoint=resume)
    assert seen(log) == [row["sample_id"] for row in rows(FORMAT)]
    assert running.state.global_step == -(-len(rows(FORMAT)) // 2), "a stream that ends ends the training, and saves"
    note = json.loads((root / "consumers" / "t.json").read_text())
    assert note["policy_version"] == f"t-{running.state.global_step}"


def test_a_checkpoint_that_was_torn_is_passed_over(root: Path, tokenizer: Any, tmp_path: Path) -> None:
    log, out = tmp_path / "seen.jsonl", tmp_path / "out"
    follower = ShardFollower(stream(root), policy_version=lambda state: f"v{state.global_step}")
    trainer(follower.dataset(), follower, tokenizer, out, log, max_steps=3).train()
    cursor = next((out / "checkpoint-3").glob("agenther-cursor*"))
    cursor.unlink()
    again = ShardFollower(stream(root))
    assert again.resume(out) == str(out / "checkpoint-2")
    (out / "checkpoint-2" / "trainer_state.json").write_text('{"best_global')  # killed while it was written
    assert again.resume(out) == str(out / "checkpoint-1")
    (out / "checkpoint-1" / "trainer_state.json").unlink()
    assert again.resume(out) is None
    assert ShardFollower(stream(root)).resume(tmp_path / "none") is None


def test_a_round_is_finite_and_is_given_again_until_it_is_over(
    root: Path, rows: Any, tokenizer: Any, tmp_path: Path
) -> None:
    out, log, keep = tmp_path / "out", tmp_path / "seen.jsonl", tmp_path / "round"
    published = [row["sample_id"] for row in rows(FORMAT)]
    first = ShardFollower(stream(root)).take(1, max_rows=6, keep=keep)
    follower = ShardFollower(stream(root))
    again = follower.take(1, max_rows=6, keep=keep)
    assert list(first["sample_id"]) == list(again["sample_id"]) == published[:6]
    trainer(again, follower, tokenizer, out, log, max_steps=-1, num_train_epochs=1).train()
    assert sorted(seen(log)) == sorted(published[:6])
    committed = sorted(path.parent.name for path in out.glob("*/agenther-cursor*"))
    assert committed == ["checkpoint-3"], "only the end of the round"
    following = stream(root)
    following.restore(out / "checkpoint-3")
    assert list(following.take(1)["sample_id"]) == published[6:]
    with pytest.raises(TooFewRows):
        following.take(1, 0.0)


def test_kill_nine_loses_nothing_and_repeats_only_what_no_checkpoint_holds(
    root: Path, rows: Any, tokenizer: Any, tmp_path: Path
) -> None:
    log, out = tmp_path / "seen.jsonl", tmp_path / "out"
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    command = [
        sys.executable,
        "-m",
        "tests.trainers.followed",
        str(root),
        str(out),
        str(log),
        str(tmp_path / "tokenizer"),
    ]
    victim = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not (log.exists() and len(log.read_text().splitlines()) >= 4):
        assert victim.poll() is None
        time.sleep(0.05)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    follower = ShardFollower(stream(root))
    resume = follower.resume(out)
    assert resume is not None
    done = int(Path(resume).name.rpartition("-")[2])
    before = seen(log)
    trained = before[: 2 * done]
    log.unlink()
    trainer(follower.dataset(), follower, tokenizer, out, log, max_steps=1000).train(resume_from_checkpoint=resume)
    published = [row["sample_id"] for row in rows(FORMAT)]
    assert before == published[: len(before)]
    assert trained + seen(log) == published


def test_an_agent_can_name_the_policy_that_acts(root: Path, tokenizer: Any, tmp_path: Path) -> None:
    from agenther_live import Live

    with Live(tmp_path / "home") as live:
        shutil.copytree(root, live.home.shards, dirs_exist_ok=True)
        assert live.published_version("t") is None
        follower = ShardFollower(live.stream(FORMAT, consumer="t"), policy_version="{consumer}/{step}")
        trainer(follower.dataset(), follower, tokenizer, tmp_path / "out", tmp_path / "log", max_steps=1).train()
        assert live.published_version("t") == "t/1"
