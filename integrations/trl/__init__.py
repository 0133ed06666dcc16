"""Shards in TRL: collators and trainers with masks and weights, and a callback that commits what was trained.

Needs the extra `trainers`. Every name takes rows as they stand in the shards:

    from agenther_live.integrations.trl import WeightedSFTTrainer

    rows = load_dataset("./agenther/shards", "trl_sft", split="train")
    WeightedSFTTrainer(model, SFTConfig("out"), rows, tokenizer, severity=True).train()
"""

from agenther_live.integrations.trl.collators import GoalContrastCollator, KTOCollator, PreferenceCollator, SFTCollator
from agenther_live.integrations.trl.follower import ShardFollower
from agenther_live.integrations.trl.masks import Encoded, Encoder
from agenther_live.integrations.trl.trainers import GoalContrastTrainer, WeightedDPOTrainer, WeightedSFTTrainer

__all__ = [
    "Encoded",
    "Encoder",
    "GoalContrastCollator",
    "GoalContrastTrainer",
    "KTOCollator",
    "PreferenceCollator",
    "SFTCollator",
    "ShardFollower",
    "WeightedDPOTrainer",
    "WeightedSFTTrainer",
]
