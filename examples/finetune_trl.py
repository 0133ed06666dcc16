"""LoRA fine-tuning of any Hugging Face causal model on published shards: SFT, then DPO with an NLL term.

    pip install 'agenther-live[trainers]'
    python examples/finetune_trl.py --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --out out
    python examples/finetune_trl.py --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --out out --follow

The hyperparameters are those of the AgentHER paper (arXiv 2603.21357), but for DPO's learning rate and NLL term. It may
be stopped and started again at any time: it goes on from its last checkpoint, and a row that a checkpoint holds is not
trained twice. docs/training.md has the whole way from a running agent.
"""

from __future__ import annotations

import argparse
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, SFTConfig

from agenther_live import AgentHERError, ShardStream
from agenther_live.errors import TooFewRows
from agenther_live.integrations.trl import ShardFollower, WeightedDPOTrainer, WeightedSFTTrainer

EXAMPLES = """\
examples:
  once, over what is published now:
    %(prog)s --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --out out
  for as long as shards come, a checkpoint (and a policy version) every 50 steps; Ctrl-C saves and ends:
    %(prog)s --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --out out --follow --save-steps 50
  severity weights, no preference stage:
    %(prog)s --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --severity --dpo none
  step-level pairs, which compare single messages:
    %(prog)s --model Qwen/Qwen2.5-0.5B-Instruct --shards agenther/shards --dpo trl_dpo_step
"""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="a model's name on the hub, or a folder")
    add("--shards", default="agenther/shards", help="the shards' folder or URL (default: %(default)s)")
    add("--out", type=Path, default=Path("out"), help="checkpoints and the adapter (default: %(default)s)")
    add("--consumer", default="finetune", help="name under which the shards are read (default: %(default)s)")
    add(
        "--follow",
        action="store_true",
        help="SFT for as long as shards come: until --max-steps, or Ctrl-C (then no DPO)",
    )
    add("--severity", action="store_true", help="scale each row's loss by its severity weight w")
    add("--dpo", default="trl_dpo", choices=["trl_dpo", "trl_dpo_step", "none"], help="pairs of the second stage")
    add("--epochs", type=float, default=3.0, help="passes over the rows, without --follow (default: %(default)s)")
    add("--max-steps", type=int, default=-1, help="SFT steps at most; -1: by --epochs, or without end (--follow)")
    add("--rank", type=int, default=16, help="LoRA rank (default: %(default)s)")
    add("--alpha", type=int, default=32, help="LoRA α (default: %(default)s)")
    add("--lr", type=float, default=2e-4, help="learning rate of SFT (default: %(default)s)")
    add("--dpo-lr", type=float, default=2e-5, help="learning rate of DPO (default: %(default)s)")
    add("--beta", type=float, default=0.1, help="β of DPO (default: %(default)s)")
    add("--nll", type=float, default=0.2, help="weight of DPO's NLL term (default: %(default)s)")
    add("--batch", type=int, default=1, help="rows per device and forward pass (default: %(default)s)")
    add("--accumulate", type=int, default=16, help="forward passes per step (default: %(default)s)")
    add("--max-length", type=int, default=8192, help="tokens of a row; longer ones are cut (default: %(default)s)")
    add("--save-steps", type=int, default=50, help="steps between checkpoints (default: %(default)s)")
    add("--max-staleness", type=int, default=4, help="policy versions behind which rows are left out")
    add("--replay", type=float, default=0.25, help="share of rows drawn again, with --follow (default: %(default)s)")
    add("--timeout", type=float, default=0.0, help="seconds to wait for the first rows (default: %(default)s)")
    add("--cpu", action="store_true", help="train on the CPU")
    return parser.parse_args(given)


def common(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """What both stages' configurations share."""
    bf16 = not options.cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": options.accumulate,
        "max_length": options.max_length,
        "lr_scheduler_type": "constant_with_warmup" if options.follow else "cosine",
        "warmup_steps": 10 if options.follow else 0.03,
        "logging_steps": 10,
        "logging_first_step": True,
        "save_steps": options.save_steps,
        "save_total_limit": 3,
        "bf16": bf16,
        "use_cpu": options.cpu,
        "report_to": [],
        "dataset_num_proc": None,
    }


def new_adapter(options: argparse.Namespace) -> Any:
    """The model with a fresh adapter on every linear layer but the head."""
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    lora = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, lora)


def sft(options: argparse.Namespace, tokenizer: Any) -> Path | None:
    """Train on demonstrations; gives the adapter's folder, or None where it was stopped before it began."""
    out, adapter = options.out / "sft", options.out / "sft" / "adapter"
    if adapter.is_dir() and not options.follow:
        print(f"SFT is done: {adapter} (another --out begins anew)")
        return adapter
    stream = ShardStream(
        options.shards,
        "trl_sft",
        consumer=f"{options.consumer}-sft",
        follow=options.follow,
        max_staleness=options.max_staleness,
        replay_ratio=options.replay if options.follow else 0.0,
    )
    follower = ShardFollower(stream)
    config = common(options, out) | {"learning_rate": options.lr}
    if options.follow:
        # A stream has no length, and the trainer wants one: without an end it ends when it is stopped.
        steps = options.max_steps if options.max_steps > 0 else 10**6
        resume = follower.resume(out)
        rows: Any = follower.dataset()
        args = SFTConfig(**config, max_steps=steps)
        Stop(stream)
    else:
        rows = follower.take(1, options.timeout, keep=out / "rows")
        resume = follower.resume(out)
        args = SFTConfig(**config, num_train_epochs=options.epochs, max_steps=options.max_steps, seed=0)
        print(f"{len(rows)} demonstrations")
    if next(iter(rows), None) is None:
        return None
    trainer = WeightedSFTTrainer(
        new_adapter(options), args, rows, tokenizer, severity=options.severity, callbacks=[follower]
    )
    trainer.train(resume_from_checkpoint=resume)
    whole(adapter, trainer.save_model)
    print(f"SFT adapter: {adapter}, policy version {follower.policy_version(trainer.state)}")
    return adapter


def dpo(options: argparse.Namespace, tokenizer: Any, adapter: Path) -> Path:
    """Train the SFT adapter on pairs, against itself as it was; gives the new adapter's folder."""
    out, better = options.out / "dpo", options.out / "dpo" / "adapter"
    stream = ShardStream(options.shards, options.dpo, consumer=f"{options.consumer}-dpo", replay_ratio=0.0)
    follower = ShardFollower(stream)
    try:
        rows = follower.take(1, keep=out / "rows")
    except TooFewRows:
        print(f"no {options.dpo} rows are published: DPO is left out")
        return adapter
    print(f"{len(rows)} pairs")
    args = DPOConfig(
        **common(options, out),
        learning_rate=options.dpo_lr,
        num_train_epochs=1,
        max_steps=options.max_steps,
        beta=options.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, options.nll],
    )
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    model = PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
    trainer = WeightedDPOTrainer(model, args, rows, tokenizer, severity=options.severity, callbacks=[follower])
    trainer.train(resume_from_checkpoint=follower.resume(out))

    # The reference is a second adapter of the same model; only the trained one is kept.
    def save(folder: str) -> None:
        trainer.model.save_pretrained(folder, selected_adapters=["default"])
        tokenizer.save_pretrained(folder)

    whole(better, save)
    print(f"DPO adapter: {better}, policy version {follower.policy_version(trainer.state)}")
    return better


def whole(folder: Path, write: Callable[[str], object]) -> None:
    """Write a folder whole or not at all: what a killed run left behind is not taken for an adapter."""
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    write(str(draft))
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


class Stop:
    """Lets the first Ctrl-C end the stream, so that the trainer saves, and the cursor with it."""

    def __init__(self, stream: ShardStream) -> None:
        self.stream = stream
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    def __call__(self, *_: Any) -> None:
        print("stopping: what was trained is saved; once more to break off", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self.stream.request_stop()


def main(given: list[str] | None = None) -> None:
    """Run both stages."""
    options = arguments(given)
    try:
        tokenizer = AutoTokenizer.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        raise SystemExit(f"finetune_trl: --model {options.model}: {str(error).strip().splitlines()[0]}") from None
    if not tokenizer.chat_template:
        raise SystemExit(f"finetune_trl: --model {options.model}: no chat template; take the model's instruct version")
    try:
        adapter = sft(options, tokenizer)
        if adapter is None:
            raise SystemExit("finetune_trl: stopped before the first row came")
        if options.dpo != "none" and not (options.follow and options.max_steps < 0):
            adapter = dpo(options, tokenizer, adapter)
    except AgentHERError as error:
        raise SystemExit(f"finetune_trl: {error}") from None
    final = options.out / "adapter"
    whole(final, lambda folder: shutil.copytree(adapter, folder))
    print(f"the adapter: {final}")


if __name__ == "__main__":
    main()
