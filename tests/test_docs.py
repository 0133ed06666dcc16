"""The pages in docs/ are true: links lead somewhere, settings are what the model says, and what they show runs."""

from __future__ import annotations

import inspect
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from agenther_live import Live, ShardStream, cli, settings_page
from agenther_live.settings import load_settings
from tests.openai_server import Call, OpenAIServer, Reply
from tests.whole import TEMPLATE

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS, *sorted((ROOT / "examples").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
RUN = {  # which test runs the Python of a page
    "outcomes.md": "here",
    "replay.md": "here",
    "scale.md": "here",
    "following.md": "here; whole, with a trainer: tests/following",
    "import.md": "tests/transcripts/test_import.py",
    "training.md": "tests/trainers/test_training_page.py",
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return [body for found, body in FENCED.findall(text) if found == language]


def run(page: str, names: dict[str, Any]) -> dict[str, Any]:
    for number, text in enumerate(blocks(page, "python"), 1):
        exec(compile(text, f"{page}, Python block {number}", "exec"), names)
    return names


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made where it is shown."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    far = {page.name for page in DOCS if f"docs/{page.name}" not in readme}
    near = "".join(page.read_text("utf-8") for page in DOCS if page.name not in far)
    assert [name for name in far if f"]({name}" not in near] == []


def test_the_page_of_settings_is_what_the_model_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == settings_page.page(), (
        "python -m agenther_live.settings_page > docs/settings.md"
    )


def test_the_page_of_capture_tells_what_attach_takes() -> None:
    page = (ROOT / "docs" / "capture-details.md").read_text("utf-8")
    table = page.partition("What `attach` takes")[2].partition("\n## ")[0]
    told = [name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(inspect.signature(Live.attach).parameters.keys() - {"self", "agent"})


def test_every_figure_of_status_is_explained(demo_home: Path) -> None:
    page = (ROOT / "docs" / "watching.md").read_text("utf-8")
    with Live(demo_home, read_only=True) as live:
        named = {*live.status(), *(step["step"] for step in live.buffer.funnel())}
    assert [name for name in named if f"`{name}`" not in page] == []


def test_every_question_in_a_page_is_answered(demo_home: Path) -> None:
    """The SQL behind `agenther-live sql` and `--where`; that of docs/sql.md has its own test."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    asked = set(re.findall(r"agenther-live sql [\"']([^\"]+?)[\"'](?:`|$|  #)", text, re.MULTILINE))
    asked |= set(re.findall(r"`(select .+?)`", text))
    chosen = set(re.findall(r'--where "([^"…]+)"', text))
    assert len(asked) > 6
    assert len(chosen) > 1
    with Live(demo_home) as live, live.buffer.hold():
        for query in asked:
            live.buffer.sql(query)
        for where in chosen:
            live.retract(where=where, reason="drift", dry_run=True)


def test_every_verb_and_option_in_a_page_exists() -> None:
    seen, verbs = 0, typer.main.get_command(cli.app)
    for page in PAGES:
        for said in re.findall(r"agenther-live((?: [^\s`\"']+)+)", page.read_text("utf-8")):
            node: Any = verbs
            words = [word.strip("[](),;.|") for word in said.split()]
            while words and hasattr(node, "commands") and words[0] in node.commands:
                node = node.commands[words.pop(0)]
            known = {name for each in node.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
            named = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert named <= known, (page.name, said)
            assert not hasattr(node, "commands") or not words or words[0] in known, (page.name, said)
            seen += 1
    assert seen > 90


@pytest.mark.parametrize("page", [page.name for page in DOCS if blocks(page.name, "toml")])
def test_settings_files_are_taken(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "toml"):
        (tmp_path / "agenther.toml").write_text(text)
        settings = load_settings(home=tmp_path)
        for name, value in tomllib.loads(text).items():
            found = getattr(settings, name)
            assert (list(found) if isinstance(found, tuple) else found) == value


def test_every_python_block_has_a_test_that_runs_it() -> None:
    assert {page.name for page in DOCS if blocks(page.name, "python")} == set(RUN)


@tool
def book_room(city: str) -> str:
    """Book a hotel room."""
    return f'{{"status": "confirmed", "room": 12, "city": "{city}"}}'


def _answer(request: dict[str, Any]) -> Reply | str:
    if request["messages"][-1]["role"] == "tool":
        return "Booked: room 12."
    return Reply(calls=[Call("book_room", {"city": "Lyon"})])


def test_outcomes_are_said_as_the_page_says(home: Path) -> None:
    with OpenAIServer(_answer) as server, Live(home, **TEMPLATE) as live:
        model = ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="x")  # type: ignore[arg-type]
        names: dict[str, Any] = {"live": live, "agent": create_agent(model, tools=[book_room])}
        said, judged = blocks("outcomes.md", "python")
        exec(said, names)
        live.run_until_idle()
        rows = live.buffer.sql("select goal, outcome, outcome_source from trajectories order by started_at").fetchall()
        assert rows == [
            ("Book a room in Lyon.", "failure", "person"),
            ("Book a room in Lyon with a window.", "success", "reward"),
        ]
        exec(judged, names)
        assert names["found_a_room"](live.buffer.trajectory(names["task"].trajectory_id)) is True


def test_draws_are_as_the_page_says(demo_home: Path) -> None:
    with Live(demo_home) as live:
        names = run("replay.md", {"live": live})
        assert names["sample"].messages
        assert names["weight"] <= 1


def test_a_buffer_elsewhere_is_named_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    live = run("scale.md", {"Live": Live})["live"]
    assert live.settings.buffer.endswith("@db.internal/agenther")


def test_the_shards_are_followed_as_the_page_says(demo_home: Path, tmp_path: Path) -> None:
    shards, out = shutil.copytree(demo_home / "shards", tmp_path / "shards"), str(tmp_path / "checkpoint-")
    first, second = blocks("following.md", "python")
    for printed, here in (("s3://bucket/shards", str(shards)), ("follow=True", "follow=False"), ("512", "9")):
        assert printed in first
        first = first.replace(printed, here)  # no bucket, no trainer that goes on for ever
    with Live(demo_home) as live:
        names: dict[str, Any] = {"live": live, "ShardStream": ShardStream}
        names["stream"] = live.stream("trl_sft", consumer="trainer-a")
        exec(first.partition("batch =")[0], names)
    assert {"messages", "goal"} <= set(names["row"])
    names["stream"] = ShardStream(shards, "trl_sft", consumer="trainer-a")
    exec("batch =" + first.partition("batch =")[2], names)
    assert len(names["batch"]) >= 9
    names["stream"].commit(f"{out}400")
    names |= {"trained": 0, "stream": ShardStream(shards, "trl_sft", consumer="trainer-a")}
    exec(second.replace("out/checkpoint-", out), names)
    assert names["stream"].restore(f"{out}420") is None
