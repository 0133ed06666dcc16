"""LLaMA-Factory, ms-swift and axolotl read what we publish, by their own code and the recipes of examples/recipes.

Their pins conflict with each other's, so each has an environment of its own: `make test-converters` makes them below
the folder that AGENTHER_CONVERTERS names, once. Without that variable nothing here runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agenther_live.shards.reading.pull import pull

HERE = Path(__file__).parent
RECIPES = HERE.parents[2] / "examples" / "recipes"
FOLDER = os.environ.get("AGENTHER_CONVERTERS")
TOOLS = {"llamafactory": "llamafactory==0.9.5", "swift": "ms-swift==4.6.0", "axolotl": "axolotl==0.19.0"}
STOP = "<|im_end|>"

pytestmark = [
    pytest.mark.skipif(FOLDER is None, reason="AGENTHER_CONVERTERS is not set: run `make test-converters`"),
    pytest.mark.timeout(2400),  # the first test of each tool installs it
]


def environment(tool: str) -> Path:
    """Give the Python of a tool's environment, made where it is not there yet."""
    assert FOLDER is not None
    home = Path(FOLDER).resolve() / tool
    python, stamp = home / "bin" / "python", home / ".made"
    wanted = (HERE / f"{tool}.txt").read_text("utf-8") + TOOLS[tool]
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "--requirement", str(HERE / f"{tool}.txt")], check=True)
        subprocess.run([*install, "--no-deps", TOOLS[tool]], check=True)
        stamp.write_text(wanted, "utf-8")
    return python


def read(tool: str, recipe: str, shards: Path, model: Path, out: Path) -> dict[str, Any]:
    """Run a tool's reader, and give what it told."""
    command = [environment(tool), HERE / f"{tool}_reads.py", RECIPES / recipe, shards, model, out]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    done = subprocess.run(
        list(map(str, command)), text=True, capture_output=True, check=False, env={**clean, "HOME": str(out)}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in a folder."""
    from tests.trainers import tiny

    return tiny.save(tmp_path_factory.mktemp("model"), tokenizer)


def answers(published: list[dict[str, Any]], key: str) -> list[str]:
    """The final answers of the rows that train one, in order of their text."""
    last = [row[key][-1] for row in published if row["final_trained"]]
    return sorted(message.get("content") or message.get("value") for message in last)


@pytest.mark.parametrize(
    ("tool", "fmt", "recipe", "messages", "a_set"),
    [
        ("llamafactory", "sharegpt", "llamafactory_sft.yaml", "conversations", False),
        ("llamafactory", "sharegpt", "llamafactory_sft.yaml", "conversations", True),
        ("swift", "swift_sft", "swift_sft.yaml", "messages", False),
        ("axolotl", "axolotl_sft", "axolotl_sft.yaml", "messages", False),
    ],
)
def test_sft_rows_are_read_and_none_is_skipped(
    tool: str, fmt: Any, recipe: str, messages: str, a_set: bool, rows: Any, shards: Path, model: Path, tmp_path: Path
) -> None:
    folder = shards  # with every format in it
    if a_set:
        folder = tmp_path / "set"
        pull(shards, tool, consumer="converters", out=folder, everything=True)
    told = read(tool, recipe, folder, model, tmp_path)
    published = rows(fmt)
    assert told["rows"] == len(published)
    assert told["lora"] == [16, 32]
    assert told["learning_rate"] == 2e-4
    results = {text for row in published for text in tool_results(row[messages])}
    for text in told["trained"]:
        assert text.strip()
        assert not any(result in text for result in results), "a tool result is trained"
    for answer in answers(published, messages):
        assert any(text.rstrip().endswith(f"{answer}{STOP}") for text in told["trained"]), answer


def test_ms_swift_reads_both_sides_of_a_pair(rows: Any, shards: Path, model: Path, tmp_path: Path) -> None:
    told = read("swift", "swift_dpo.yaml", shards, model, tmp_path)
    published = rows("swift_dpo")
    assert told["rows"] == len(published) == len(told["rejected"])
    results = {
        text for row in published for side in ("messages", "rejected_messages") for text in tool_results(row[side])
    }
    for text in told["trained"] + told["rejected"]:
        assert not any(result in text for result in results), "a tool result is trained"


def tool_results(messages: list[dict[str, Any]]) -> list[str]:
    """What tools gave, where it is long enough to be told from what the assistant says of it."""
    said = [m.get("content") or m.get("value") or "" for m in messages if is_result(m)]
    return [text for text in said if len(text) > 40]


def is_result(message: dict[str, Any]) -> bool:
    return message.get("role", message.get("from")) in ("tool", "tool_response", "observation")
