"""Secrets planted in real runs reach no file, no log and no prompt; what they taint is not trained on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agenther_live import Live
from agenther_live.redact import PLACEHOLDER
from tests.capture.kit import quiet, user
from tests.openai_server import Call, OpenAIServer, Reply, say
from tests.relabel.world import FAILED_GOAL, bought, good

SECRETS = {
    "key": "sk-proj-" + "Ab3" * 16,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "url": "postgresql://worker:correct-horse-7@db.example.org/orders",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "mail": "jane.doe@example.org",
    "card": "4111 1111 1111 1111",
}
NEEDLES = [*SECRETS.values(), "Ab3Ab3Ab3", "dozjgNryP4J3jVmNHl0w5N", "correct-horse-7", "hunter2-hunter2"]
QUOTING = ("reason", "rationale", "explanation")
ALL = "; ".join(SECRETS.values())


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Reply]]:
    """What the agent's model says, by the first word of the user: streamed, word by word."""
    ordered = [message for message in bought().messages if message.role == "assistant"]
    calls = [message.tool_calls[0].function for message in ordered if message.tool_calls]
    script = [Reply(calls=[Call(call.name, str(call.arguments))]) for call in calls]
    return {
        "Please": [*script, say(ordered[-1].text)],
        "Log": [
            Reply(text=f"I use {ALL}", calls=[Call("log_in", {"password": "hunter2-hunter2", "note": ALL})]),
            Reply(text="Now I look.", calls=[Call("list_suppliers", {"item": "hex bolt"})]),
            say("You are logged in, and Acme sells hex bolts."),
        ],
        "Break": [Reply(calls=[Call("log_in", {"password": "hunter2-hunter2", "note": "break"})])],
    }


def agent(url: str) -> Any:
    results = [message.text for message in bought().messages if message.role == "tool"]

    @tool
    def list_suppliers(item: str) -> str:
        """List the suppliers of an item."""
        return json.dumps(json.loads(results[0]) | {"note": ALL})

    @tool
    def get_quote(supplier: str, item: str, quantity: int, city: str) -> str:
        """Ask a supplier for its price."""
        return next(text for text in results[1:4] if json.loads(text)["supplier"] == supplier)

    @tool
    def place_order(supplier: str, item: str, quantity: int, city: str) -> str:
        """Place a binding order."""
        return results[4]

    @tool
    def log_in(password: str, note: str) -> str:
        """Log in."""
        if note == "break":
            raise PermissionError(f"refused: password={password} of {ALL}")
        return f"welcome, your session is {ALL}"

    model = ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key=SecretStr("k"), streaming=True, max_retries=0)
    return create_agent(
        model, [list_suppliers, get_quote, place_order, log_in], system_prompt="You buy things. Orders are allowed."
    )


def files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".duckdb":
            yield str(path), path.read_bytes().decode("utf-8", "replace")


def cells(database: Path) -> Iterator[tuple[str, str]]:
    """Everything that the database holds, the compressed payloads unpacked."""
    with duckdb.connect(str(database), read_only=True) as raw:
        tables = raw.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        for schema, table in tables:
            found = raw.execute(f'select * from "{schema}"."{table}"')
            names = [column[0] for column in found.description]
            for row in found.fetchall():
                values = dict(zip(names, row, strict=True))
                for name, value in values.items():
                    if isinstance(value, bytes):
                        value = pa.Codec("zstd").decompress(value, decompressed_size=values["size"], asbytes=True)
                        value = value.decode()
                    yield f"{table}.{name}", str(value)


def test_no_secret_gets_anywhere(home: Path, runs: dict[str, list[Reply]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="agenther_live")

    def acting(request: dict[str, Any]) -> Reply:
        asked = next(message["content"] for message in request["messages"] if message["role"] == "user")
        said = sum(message["role"] == "assistant" for message in request["messages"])
        return runs[asked.split()[0]][said]

    written: list[tuple[str, str]] = []

    def judging(request: dict[str, Any]) -> Reply:
        """Answer well, and quote what it saw, so that a secret in a prompt would be one in a reply."""
        written.extend(files(home / "replies"))  # those before, not yet ingested
        seen = " ".join(PLACEHOLDER.findall(json.dumps(request)))
        return say({key: f"{text} {seen}" if key in QUOTING else text for key, text in good(request).items()})

    with OpenAIServer(acting) as actor, OpenAIServer(judging) as judge:
        panel = [f"openai:{name},base_url={judge.base_url}" for name in ("relabeler", "judge", "detector", "extractor")]
        with Live(
            home, pii="redact", relabeler=panel[0], judges=["rules", panel[1]], detector=panel[2], extractor=panel[3],
            held_out=0.0, outcome_settle_seconds=0.0, strict=True,
        ) as live:  # fmt: skip
            graph = live.attach(agent(actor.base_url), subject_key="mail", name="buyer")
            config: Any = {"metadata": {"mail": SECRETS["mail"], "api_key": SECRETS["key"]}, "tags": [f"for {ALL}"]}
            asked = [f"{FAILED_GOAL} I am {ALL}.", f"Log me in with {ALL}", f"Break it with {ALL}"]
            with live.trajectory() as failed:
                words = list(graph.stream(user(asked[0]), config, stream_mode="messages"))
                failed.failure(f"too dear for {ALL}")
            assert len(words) > 10
            with live.trajectory() as logged:
                graph.invoke(user(asked[1]), config)
                logged.success()
            live.feedback(trajectory_id=logged.trajectory_id, score=1.0, comment=ALL, value=ALL)
            with quiet(PermissionError), live.trajectory(goal=asked[2]):
                graph.invoke(user(asked[2]), config)
            written += files(home)  # the journal, before it is ingested and deleted
            live.run_until_idle()
            rows = live.buffer.sql("select goal, stage, outcome, n_steps from trajectories order by started_at").dicts()
            status = live.status()
        prompts = [
            (f"prompt {n}", json.dumps(body) + str(judge.requests[n].headers)) for n, body in enumerate(judge.bodies)
        ]
    written += [*files(home), *cells(home / "buffer.duckdb"), *prompts]
    written += [
        (record.name, record.getMessage() + str(record.exc_text))
        for record in caplog.records
        if record.name.startswith("agenther")
    ]
    leaks = [(where, needle) for where, text in written for needle in NEEDLES if needle in text]
    assert not leaks

    # It was no empty room that was searched: the runs are there, judged, relabeled, published.
    assert [(row["outcome"], row["n_steps"]) for row in rows] == [("failure", 6), ("success", 3), ("failure", 1)]
    assert rows[0]["stage"] == "relabeled", rows
    assert len(prompts) >= 4
    assert status["shards"] >= 1
    places = [where for where, text in written if PLACEHOLDER.search(text)]
    for place in (
        "journal",
        "replies",
        "trajectories.payload",
        "run_facts.facts",
        "evidence.comment",
        "prompt",
        "shards",
    ):
        assert any(place in where for where in places), place
    shard = [json.loads(line) for where, text in written if "/trl_sft" in where for line in text.splitlines()]
    tainted = 0
    for row in shard:
        for message, trained in zip(row["messages"], row["train"], strict=True):
            if PLACEHOLDER.search(json.dumps(message)):
                tainted += message["role"] == "assistant"
                assert not trained, message
    assert tainted
    assert {row["kind"] for row in shard} == {"success", "hindsight"}
    assert all(any(row["train"]) for row in shard)
