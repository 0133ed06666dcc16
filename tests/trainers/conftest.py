"""A tiny random model, a tokenizer made from the shards themselves, and shards that a real run published.

Needs the extra `trainers`; `make test-trainers` runs this folder, and no other run does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agenther_live.settings import ShardFormat
from agenther_live.shards.reading.stream import read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ[name] = "1"
os.environ["TQDM_DISABLE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep this folder out of runs that do not name it: its packages are heavy."""
    asked = [Path(arg.split("::")[0]).resolve() for arg in config.args]
    return None if any(path == HERE or HERE in path.parents for path in asked) else True


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Tiny tensors are slower on more."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What real runs of a real agent became, in every format."""
    from tests.trainers.emit import emit

    return emit(tmp_path_factory.mktemp("emit") / "home")


@pytest.fixture(scope="session")
def rows(shards: Path) -> Rows:
    """The published rows by format."""
    return Rows(shards)


class Rows:
    """Rows of shards, read as any reader does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, fmt: ShardFormat, most: int | None = None) -> list[dict[str, Any]]:
        if fmt not in self._known:
            self._known[fmt] = [found.row for found in read_rows(self.root, fmt)]
        assert self._known[fmt], f"there is no {fmt} row"
        return self._known[fmt][:most]


@pytest.fixture(scope="session")
def tokenizer(rows: Rows) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of the shards, with a chat template that marks what the assistant says."""
    from tests.trainers import tiny

    return tiny.tokenizer([json.dumps(row["messages"]) for row in rows("trl_sft")])
