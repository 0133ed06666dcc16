"""examples/finetune_trl.py from the shards to an adapter, with a tiny random model."""

from __future__ import annotations

import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "finetune_trl.py"


@pytest.fixture(scope="module")
def run() -> Any:
    """Its `main`."""
    return runpy.run_path(str(EXAMPLE))["main"]


@pytest.fixture
def given(shards: Path, tokenizer: Any, tmp_path: Path) -> list[str]:
    from tests.trainers import tiny

    shutil.copytree(shards, tmp_path / "shards")
    model = tiny.save(tmp_path / "model", tokenizer)
    return [
        *("--model", str(model), "--shards", str(tmp_path / "shards"), "--out", str(tmp_path / "out")),
        *("--cpu", "--batch", "2", "--accumulate", "1", "--max-length", "512", "--save-steps", "1"),
    ]


def test_sft_then_dpo(run: Any, given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([*given, "--max-steps", "2", "--severity"])
    told = capsys.readouterr().out
    adapter = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (16, 32)
    assert "pairs" in told
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    notes = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "shards" / "consumers").glob("*.json")}
    assert notes["finetune-sft"]["policy_version"] == "finetune-sft-2"
    assert notes["finetune-dpo"]["policy_version"] == "finetune-dpo-2"
    sft = tmp_path / "out/sft"
    (sft / "adapter").rename(sft / ".adapter.part")  # as if it had been killed while it wrote the adapter
    run([*given, "--max-steps", "2"])
    assert "demonstrations" in capsys.readouterr().out
    assert sorted(path.name for path in sft.iterdir() if "adapter" in path.name) == ["adapter"]
    run([*given, "--max-steps", "2"])
    assert "SFT is done" in capsys.readouterr().out


def test_it_goes_on_where_it_was_stopped(run: Any, given: list[str], tmp_path: Path) -> None:
    run([*given, "--follow", "--max-steps", "2", "--dpo", "none"])
    state = json.loads((tmp_path / "out/sft/checkpoint-2/trainer_state.json").read_text())
    assert state["global_step"] == 2
    run([*given, "--follow", "--max-steps", "3", "--dpo", "none", "--replay", "0"])
    cursor = json.loads(next((tmp_path / "out/sft/checkpoint-3").glob("agenther-cursor*")).read_text())
    assert cursor["fresh"] == 6


def test_help_has_examples(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["--help"])
    assert left.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_a_wrong_folder_is_told(run: Any, given: list[str], tmp_path: Path) -> None:
    given[3] = str(tmp_path / "nothing")
    with pytest.raises(SystemExit, match="no such folder"):
        run(given)
    with pytest.raises(SystemExit, match="--model"):
        run([*given, "--model", str(tmp_path / "no-model")])
    bare = shutil.copytree(given[1], tmp_path / "base-model")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(SystemExit, match="no chat template"):
        run([*given, "--model", str(bare)])
    assert not (tmp_path / "out").exists()


def test_ctrl_c_saves_and_ends(given: list[str], tmp_path: Path) -> None:
    """In a process of its own, following: nothing more comes, so it waits until it is told to stop."""
    out = tmp_path / "out" / "sft"
    words = [sys.executable, str(EXAMPLE), *given, "--follow", "--save-steps", "1000"]
    with (tmp_path / "told").open("w") as told:
        running = subprocess.Popen(words, stdout=told, stderr=subprocess.STDOUT)
        note = tmp_path / "shards" / "consumers" / "finetune-sft.json"
        while "'loss'" not in (tmp_path / "told").read_text():
            assert running.poll() is None, (tmp_path / "told").read_text()[-2000:]
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        assert running.wait() == 0, (tmp_path / "told").read_text()[-2000:]
    checkpoint = next(out.glob("checkpoint-*"))
    assert json.loads(note.read_text())["policy_version"] == f"finetune-sft-{checkpoint.name.rpartition('-')[2]}"
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
