"""The README is true: its Python runs against a server that speaks the OpenAI protocol, its commands and SQL exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from agenther_live import Live, cli
from tests.openai_server import Call, OpenAIServer, Reply, say
from tests.relabel.world import good
from tests.whole import run_cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PYTHON = re.compile(r"[a-z_]+(\.[a-z_]+)+\(")  # an expression that stands alone, indented


def blocks(*languages: str) -> list[str]:
    return [text for language, text in FENCED.findall(README) if language in languages]


def commands() -> list[str]:
    """The lines of all shell blocks, fenced or indented."""
    indented = re.findall(r"^ {4}(\S.*)$", FENCED.sub("", README), re.MULTILINE)
    lines = [line.strip() for text in blocks("sh", "bash", "shell", "console") for line in text.splitlines()] + indented
    found = [line.removeprefix("$ ").split("  #")[0].strip() for line in lines]
    return [part.strip() for line in found for part in line.split("&&") if part.strip() and not part.startswith("#")]


def statements() -> list[str]:
    """All SQL that the README shows: in blocks of its own, in Python, and behind `agenther-live sql`."""
    found = [part.strip() for text in blocks("sql") for part in text.split(";") if part.strip()]
    found += re.findall(r"\.sql\(\s*\"([^\"]+)\"", README)
    for command in commands():
        words = shlex.split(command)
        if "agenther-live sql" in command:
            found += [word for word in words if re.match(r"(?i)(select|with|describe|summarize|from)\b", word)]
    return found


def answer(request: dict[str, Any]) -> Reply | str:
    """The agent's model books, then says so; relabeler and judge get what a good model would say."""
    if "record " in str(request["messages"][-1].get("content")):
        return say(good(request))
    if request["messages"][-1]["role"] == "tool":
        return "Booked: room 12 for 180 EUR."
    return Reply(calls=[Call("book_room", {"city": "Lyon", "nights": 2})])


@tool
def book_room(city: str, nights: int) -> str:
    """Book a hotel room."""
    return f'{{"status": "confirmed", "room": 12, "city": "{city}", "nights": {nights}, "total_eur": 180}}'


def test_every_python_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = blocks("python", "py")
    assert texts
    with OpenAIServer(answer) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        names: dict[str, Any] = {"agent": create_agent(ChatOpenAI(model="gpt-4o-mini"), tools=[book_room])}
        for number, text in enumerate(texts):
            exec(compile(text, f"README.md, Python block {number + 1}", "exec"), names)
    with Live(tmp_path / "agenther") as live:
        rows = live.buffer.sql("select thread_id, outcome, outcome_source from trajectories").fetchall()
        assert live.status()["llm_calls"] > 0
    assert ("t1", "failure", "person") in rows
    assert "hindsight_goal" in capsys.readouterr().out


def test_every_command_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    found = commands()
    assert "make demo" in found
    for command in found:
        if PYTHON.match(command):
            continue
        words = [Path(word).name if word.startswith(".venv/bin/") else word for word in shlex.split(command)]
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        match words:
            case ["make", *rest]:
                assert {word for word in rest if "=" not in word} <= targets, command
            case ["agenther-live", *rest]:
                _exists(rest, command)
            case ["pip", "install", *rest] | ["python", "-m", "pip", "install", *rest]:
                for word in rest:
                    assert not (named := re.search(r"\[(.+)\]", word)) or set(named[1].split(",")) <= extras, command
                    assert not word.endswith(".txt") or (ROOT / word).exists(), command
            case ["python", "-m", "venv" | "pytest", *_] | ["python", "-c", *_]:
                pass
            case ["export" | "cd" | "source", *_]:
                pass
            case ["python", path, *_]:
                assert (ROOT / path).exists(), command
            case _:
                raise AssertionError(f"README.md shows a command that no test knows: {command}")


def test_every_expression_works(demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agenther").symlink_to(demo_home)
    import datasets

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for expression in filter(PYTHON.match, commands()):
        assert eval(expression, {"datasets": datasets}), expression


def _exists(words: list[str], command: str) -> None:
    """A verb, and options that it has."""
    node: Any = typer.main.get_command(cli.app)
    rest = list(words)
    while hasattr(node, "commands"):
        while rest[0].startswith("--"):
            rest = rest[2:]
        node = node.commands[rest.pop(0)]
    options = {name for parameter in node.params for name in parameter.opts}
    for word in rest:
        assert not word.startswith("--") or word.split("=")[0] in options, command


def test_every_sql_statement_works(demo_home: Path) -> None:
    found = statements()
    assert found
    for query in found:
        done = run_cli("sql", query, "--home", demo_home, "--json")
        assert done.code == 0, (query, done.err)
