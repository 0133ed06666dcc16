"""Every command that the docs name exists, with the options that they give it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from agenther_live import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NAMED = re.compile(r"`agenther-live ([^`]+)`|^\s*(?:\$ )?agenther-live (.+)$", re.MULTILINE)


def named(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    return [" ".join((found[1] or found[2]).split()) for found in NAMED.finditer(text)]


def wrong(line: str) -> str | None:
    """What the command line does not have of this."""
    lexer = shlex.shlex(line.partition(" # ")[0], posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # a quotation that goes on in the next line
        words = line.split()
    command: Any = typer.main.get_command(cli.app)
    for index, word in enumerate(words):
        if set(word) <= set("|;&<>"):
            break
        if hasattr(command, "commands") and not word.startswith("-"):
            if word not in command.commands:
                return None if word in ("…", "VERB") else f"no verb {word}"
            command = command.commands[word]
        elif re.match(r"--?[a-z]", word):
            known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
            if word.partition("=")[0] not in known | {"--help"}:
                return f"{' '.join(words[:index])} has no {word}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_commands_that_there_are(page: Path) -> None:
    assert [(line, said) for line in named(page) if (said := wrong(line))] == []


def test_the_runbook_names_the_commands_of_trust() -> None:
    said = named(ROOT / "docs" / "runbook.md")
    assert {"trust show", "trust clear"} <= {" ".join(line.split()[:2]) for line in said}
    assert wrong("trust shwo") == "no verb shwo"
    assert wrong("delete --whatever x") == "delete has no --whatever"


@pytest.mark.parametrize(
    "bench",
    sorted({*(ROOT / "benchmarks").glob("[!_]*.py")} - {ROOT / "benchmarks" / "common.py"}),
    ids=lambda bench: bench.stem,
)
def test_a_bench_finds_its_imports_as_a_file(bench: Path) -> None:
    """`python benchmarks/NAME.py` puts only its own folder on the path: one that imports ours sets the root first."""
    places: dict[str, int] = {}
    for number, line in enumerate(bench.read_text("utf-8").splitlines()):
        if found := re.match(r"(?:from (benchmarks|tests|examples)\b|(sys\.path)\.insert\(0, )", line):
            places.setdefault("path" if found[2] else "ours", number)
    assert "ours" not in places or places.get("path", places["ours"]) < places["ours"]
