"""`agenther-live doctor --models`: each endpoint is asked for what work needs of it, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agenther_live.live import Live
from tests.openai_server import OpenAIServer, Reply, refuse, say
from tests.relabel.world import marker_of, record
from tests.whole import run_cli


def counted(request: dict[str, Any]) -> dict[str, Any]:
    return {"marker": marker_of(request), "count": len(record(request)["messages"][0]["text"].split())}


def test_a_good_endpoint_is_asked_twice_and_each_time_anew(tmp_path: Path) -> None:
    with OpenAIServer(lambda request: say(counted(request))) as server:
        model = f"openai:m,base_url={server.base_url}"
        with Live(tmp_path / "home", relabeler=model, judges=["rules", model], strict=True) as live:
            for _ in range(2):
                [found] = live.check_models()
                assert found.ok
                assert (found.used_as, found.way) == (("relabeler", "judges[1]"), "schema")
        assert len(server.requests) == 4
        sizes = [len(json.dumps(body)) for body in server.bodies]
        assert sizes[0] < 3000 < 100_000 < sizes[1]


def test_what_is_wrong_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        if request["model"] == "talker":
            return say("The message has five words.")
        if request["model"] == "weak" and "response_format" in request:
            return refuse(400, "response_format is not supported")
        if request["model"] == "short" and len(json.dumps(request)) > 50_000:
            return refuse(400, "This model's maximum context length is 8192 tokens")
        return say(counted(request))

    names = ("talker", "weak", "short")
    monkeypatch.setenv("WRONG", "wrong")
    monkeypatch.setenv("RIGHT", "right")
    with OpenAIServer(answer, api_key="right") as server:
        judges = [f"openai:{name},base_url={server.base_url},api_key_env=RIGHT" for name in names]
        judges.append(f"openai:stranger,base_url={server.base_url},api_key_env=WRONG")
        with Live(tmp_path / "home", judges=judges, strict=True) as live:
            found = {each.model.removeprefix("openai:"): each for each in live.check_models()}
        told = {name: (each.auth, each.structured, each.long_prompt) for name, each in found.items()}
        assert told == {
            "talker": (True, False, None),
            "weak": (True, True, True),
            "short": (True, True, False),
            "stranger": (False, None, None),
        }
        assert found["weak"].way == "plain"
        assert "max_context_chars" in found["short"].problem
        assert "401" in found["stranger"].problem

        config = "judges = [" + ", ".join(json.dumps(judge) for judge in judges[:2]) + "]\n"
        (tmp_path / "home" / "agenther.toml").write_text(config)
        shown = run_cli("doctor", "--home", tmp_path / "home", "--models", "--json")
        assert shown.code == 1, shown.err
        levels = [each["level"] for each in json.loads(shown.out) if each["area"] == "models"]
        assert levels == ["bad", "ok"]
        (tmp_path / "home" / "agenther.toml").write_text("")
        assert "no chat model is set" in run_cli("doctor", "--home", tmp_path / "home", "--models").out
