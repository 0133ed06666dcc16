"""Who may import what: the table of the design, held against the source.

Every import counts, also one inside a function or under TYPE_CHECKING: what a module knows of is what it depends on.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "agenther_live"


@dataclass(frozen=True)
class Rule:
    """What the modules under one name may import, besides themselves and the standard library."""

    ours: frozenset[str]
    """Modules of this project, without the leading `agenther_live.`; a package's name covers what is in it."""
    theirs: frozenset[str] = frozenset()
    """Top-level names of other people's packages."""


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# In the order of the data's way; a later row may know of earlier ones, never the other way round.
DOMAIN = names("errors characters clock collecting ids trajectory labels outcome")
FACTS = DOMAIN | names("facts assemble")
SETTINGS = names("errors settings home")
LOCAL = FACTS | SETTINGS | names("journal redact relabel shards")
TRAINERS = names("torch transformers trl datasets accelerate")
SDKS = names("langchain langchain_core langchain_openai langgraph openai httpx genai_prices")
DATABASES = names("sqlalchemy duckdb duckdb_sqlalchemy alembic pyarrow psycopg pandas polars")
UPKEEP = names("erase requests upkeep doctor retraction")
MEETING = (
    LOCAL
    | UPKEEP
    | names("coroutines evaluate polarity judging mixing trust limits replies buffer integrations fleet rest scheduler")
)
TOP = MEETING | names("compose live")

RULES = {
    "errors": Rule(frozenset()),
    "characters": Rule(frozenset()),
    "clock": Rule(frozenset()),
    "collecting": Rule(frozenset()),
    "ids": Rule(names("errors"), names("orjson")),
    "trajectory": Rule(DOMAIN, names("pydantic")),
    "labels": Rule(DOMAIN, names("pydantic")),
    "outcome": Rule(DOMAIN, names("pydantic")),
    "facts": Rule(FACTS, names("pydantic orjson")),
    "assemble": Rule(FACTS, names("pydantic orjson")),
    "settings": Rule(names("errors"), names("pydantic pydantic_settings")),
    "settings_page": Rule(SETTINGS, names("pydantic")),
    "home": Rule(SETTINGS),
    "journal": Rule(FACTS | SETTINGS, names("pydantic orjson")),
    "redact": Rule(FACTS | SETTINGS | names("journal"), names("pydantic orjson")),
    "relabel": Rule(FACTS | SETTINGS | names("redact"), names("pydantic orjson")),
    "shards": Rule(FACTS | SETTINGS | names("redact relabel"), names("pydantic orjson")),
    "shards.files.parquet": Rule(FACTS | SETTINGS, names("orjson pyarrow")),
    "shards.checks.templates": Rule(FACTS | SETTINGS, names("transformers")),
    "shards.stores.objects": Rule(FACTS | SETTINGS | names("shards"), names("fsspec")),
    "shards.reading.tables": Rule(FACTS | SETTINGS | names("shards"), names("datasets")),
    "shards.reading.follow": Rule(
        FACTS | SETTINGS | names("shards"), names("orjson datasets")
    ),  # datasets: for types alone
    "buffer": Rule(LOCAL, names("pydantic pydantic_core orjson rich zstandard") | DATABASES),  # rich: for .show()
    "integrations": Rule(LOCAL, names("pydantic orjson") | SDKS),
    "integrations.transcripts": Rule(LOCAL, names("pydantic orjson")),
    "integrations.trl": Rule(LOCAL, TRAINERS),
    "coroutines": Rule(frozenset()),
    "evaluate": Rule(LOCAL | names("coroutines"), names("pydantic")),
    "polarity": Rule(LOCAL | names("evaluate")),
    "trust": Rule(LOCAL | names("buffer")),
    "review": Rule(LOCAL | names("buffer render trust"), names("rich")),
    "judging": Rule(LOCAL | names("buffer replies")),
    "mixing": Rule(LOCAL | names("buffer")),
    "erase": Rule(MEETING),
    "retraction": Rule(MEETING),
    "requests": Rule(SETTINGS | names("ids"), names("orjson")),
    "upkeep": Rule(MEETING, names("orjson")),
    "doctor": Rule(MEETING, names("orjson")),
    "fleet": Rule(LOCAL | names("buffer")),
    "rest": Rule(LOCAL),
    "scheduler": Rule(MEETING, names("pydantic orjson apscheduler")),
    "limits": Rule(names("errors")),
    "replies": Rule(LOCAL | names("limits")),
    "compose": Rule(MEETING, names("pydantic langchain_core")),
    "live": Rule(MEETING | names("compose"), names("pydantic apscheduler langchain_core langgraph")),
    "": Rule(TOP),
    "render": Rule(DOMAIN, names("rich")),
    "report": Rule(DOMAIN, names("matplotlib")),
    "metrics": Rule(DOMAIN, names("prometheus_client orjson")),
    "show": Rule(DOMAIN | names("render"), names("rich")),
    "demo": Rule(TOP | names("render") | {""}, names("pydantic rich") | SDKS),
    "cli": Rule(
        TOP | names("render review show report metrics demo") | {""}, names("pydantic orjson typer click rich")
    ),
    "__main__": Rule(names("cli")),
}

# The standard library is free, but for its own database, and for threads below the meeting point: the journal alone has
# one, its flush timer. (ids has a lock, no thread.)
THREADS = names("threading _thread concurrent multiprocessing asyncio")
NO_THREADS = (FACTS - {"collecting", "ids"}) | names("settings home redact relabel shards")


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its name; the two linked packages are read at their real place."""
    found = {}
    for folder, prefix in ((PACKAGE, ()), ("buffer", ("buffer",)), ("integrations", ("integrations",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == PACKAGE and inner[0] in ("buffer", "integrations"):
                continue
            parts = (*prefix, *inner)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, source: str, is_package: bool) -> Iterator[str]:
    """Absolute names of everything that `source` imports; `from a import b` gives a.b where that is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = [PACKAGE, *(name.split(".") if name else [])]
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                is_module = inner.removeprefix(f"{PACKAGE}.") in modules() or inner.removeprefix(f"{PACKAGE}.") in RULES
                yield inner if base.split(".")[0] == PACKAGE and is_module else base


def rule_of(name: str) -> tuple[str, Rule] | None:
    """The row of a module: its own, or that of the nearest package above it (but the root is a row of its own)."""
    row = name
    while row not in RULES:
        if "." not in row:
            return None
        row = row.rpartition(".")[0]
    return row, RULES[row]


def covers(allowed: frozenset[str], name: str) -> bool:
    return any(name == each or (each and name.startswith(f"{each}.")) for each in allowed)


def violations(name: str, source: str, is_package: bool = False) -> list[str]:
    """What the module `name` (without the leading `agenther_live.`) imports against the table."""
    full = f"{PACKAGE}.{name}" if name else PACKAGE
    found = rule_of(name)
    if found is None:
        return [f"{full} has no row in RULES: say what it may import"]
    row, rule = found
    # A row speaks for its whole package (integrations.trl may know integrations), the root's only for itself.
    itself = frozenset({row, row.partition(".")[0]}) if row else frozenset({""})
    wrong = []
    for target in imported(name, source, is_package):
        top, _, rest = target.partition(".")
        if top == PACKAGE:
            allowed = covers(rule.ours | itself, rest)
        elif top in THREADS:
            allowed = not covers(NO_THREADS, name)
        elif top == "sqlite3":
            allowed = False
        else:
            allowed = top in sys.stdlib_module_names or top in rule.theirs
        if not allowed:
            wrong.append(f"{full} imports {target}")
    return wrong


def test_every_module_keeps_to_the_table() -> None:
    wrong = [
        line
        for name, path in modules().items()
        for line in violations(name, path.read_text("utf-8"), path.name == "__init__.py")
    ]
    assert wrong == []


def test_the_source_is_found() -> None:
    assert {"", "relabel", "buffer", "buffer.migrations", "integrations"} <= modules().keys()
    assert not any("agenther_live" in name for name in modules())


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("trajectory", "import orjson"),
        ("trajectory", "from agenther_live.settings import Settings"),
        ("outcome", "import threading"),
        ("settings", "from agenther_live import journal"),
        ("journal", "import duckdb"),
        ("journal", "def late():\n    import sqlite3"),
        ("journal", "from agenther_live import Live"),
        ("redact", "import re, langchain_core"),
        ("relabel.judge", "from openai import OpenAI"),
        ("relabel.judge", "from ..buffer import store"),
        ("relabel", "from . import detect\nfrom ..buffer.store import Buffer"),
        ("relabel.judge", "from concurrent.futures import ThreadPoolExecutor"),
        ("shards.files.writer", "if TYPE_CHECKING:\n    from agenther_live.buffer.store import Buffer"),
        ("buffer.store", "from agenther_live.scheduler import tick"),
        ("buffer.store", "import langchain_openai"),
        ("buffer.store", "import buffer.schema"),
        ("integrations.langgraph", "from agenther_live.buffer import store"),
        ("integrations.langgraph", "import sqlalchemy"),
        ("integrations.transcripts", "from langchain_core.messages import AIMessage"),
        ("integrations.trl", "import langgraph"),
        ("scheduler", "import sqlalchemy"),
        ("scheduler", "import agenther_live.live"),
        ("live", "from agenther_live import cli"),
        ("", "from agenther_live.demo import run"),
        ("demo", "import sqlalchemy"),
        ("brand_new", "import json"),
    ],
)
def test_a_wrong_import_is_seen(name: str, source: str) -> None:
    assert len(violations(name, source, is_package="." not in name and name in ("relabel", ""))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("journal", "import threading, zlib, orjson\nfrom agenther_live.facts import Fact"),
        ("relabel", "from . import detect\nfrom agenther_live.relabel.detect import detect"),
        ("relabel.judge", "from agenther_live.trajectory import Trajectory\nfrom . import prompts"),
        ("buffer.migrations.versions.v0001", "from alembic import op\nimport sqlalchemy as sa"),
        ("buffer.store", "import threading\nfrom agenther_live.buffer import schema"),
        ("integrations.langgraph", "from langgraph.callbacks import GraphCallbackHandler"),
        ("integrations.trl", "import torch\nfrom agenther_live.integrations import transcripts"),
        (
            "scheduler",
            "from agenther_live.buffer.store import Buffer\nfrom agenther_live.integrations import chat_model",
        ),
        ("", "from agenther_live.live import Live"),
        ("cli", "import typer\nfrom agenther_live import Live, scheduler"),
    ],
)
def test_a_right_import_is_let_through(name: str, source: str) -> None:
    assert violations(name, source, is_package=name in ("relabel", "")) == []


def test_the_map_of_the_house_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named: dict[str, set[str]] = {}
    package = ""
    for line in page[page.index("## Where things are") : page.index("## States")].splitlines():
        cells = line.split("|")
        if len(cells) == 5 and "`" in cells[3]:
            package = cells[1].strip("` /") or package
            named.setdefault(package, set()).update(name.rstrip("/") for name in cells[3].split("`")[1::2])
    places = {
        package: place for package in named for place in (ROOT / package, ROOT / PACKAGE / package) if place.is_dir()
    }
    assert set(places) == set(named), "a row names a package that is none"
    mapped = {place.resolve() for place in places.values()}
    for package, place in places.items():
        found = {path.name.removesuffix(".py") for path in place.iterdir() if path.suffix in (".py", ".sql")}
        found |= {
            path.name for path in place.iterdir() if (path / "__init__.py").exists() and path.resolve() not in mapped
        }
        if package == PACKAGE:
            found -= {"shards"}  # its five parts have rows of their own
        assert named[package] == found - {"__init__"}, package
    assert {"buffer", "integrations"} <= set(named)
