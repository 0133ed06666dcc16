"""A trainer in a process of its own, to be killed: python -m tests.trainers.followed SHARDS OUT LOG TOKENIZER."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer

from agenther_live.integrations.trl import ShardFollower
from tests.trainers.test_follower import stream, trainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    root, out, log, tokenizer = map(Path, sys.argv[1:5])
    follower = ShardFollower(stream(root))
    trainer(follower.dataset(), follower, AutoTokenizer.from_pretrained(tokenizer), out, log, max_steps=1000).train()
