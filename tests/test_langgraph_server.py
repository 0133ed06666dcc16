"""`examples/langgraph_server` in the real `langgraph dev`, driven over HTTP, with and without capture."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from agenther_live import Live
from tests.example_processes import Process, command, copy_of, free_port, running, until
from tests.openai_protocol import Json
from tests.openai_server import Call, OpenAIServer, Reply, call, hang, say

EXAMPLE = "langgraph_server"
OFFLINE = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false"}

CHAIR = "1 office chair, 310 EUR, lost in transit"
PAID = "Paid 310 EUR back for A-18."
#                                                    status      runs steps answer
EXPECTED = {
    "Compare both orders.": ("finished", 1, 2, CHAIR),
    "Thank you.": ("finished", 1, 1, "How can I help?"),
    "Good morning!": ("finished", 1, 1, "How can I help?"),
    "Please pay back A-18.": ("finished", 2, 3, PAID),
    "Could you pay back A-18?": ("finished", 2, 3, "Not paid: too much"),
    "You might pay back A-18.": ("interrupted", 1, 2, None),
    "Let me wait for ever.": ("cancelled", 1, 0, None),
    "I wait for ever and a day.": ("cancelled", 1, 0, None),
} | {f"Show both orders, {i}.": ("finished", 1, 2, CHAIR) for i in range(8)}
RUNS = sum(runs for _, runs, _, _ in EXPECTED.values())


def support_desk(request: Json) -> Reply:
    """The model: what it says depends on the user's last words and on what the tools have answered since."""
    asked = max(i for i, message in enumerate(request["messages"]) if message["role"] == "user")
    wish = request["messages"][asked]["content"]
    heard = [message["content"] for message in request["messages"][asked + 1 :] if message["role"] == "tool"]
    if "wait for ever" in wish:
        return hang()
    if "both orders" in wish and not heard:
        return Reply(calls=[Call("look_up_order", {"order_id": order}) for order in ("A-17", "A-18")])
    if "pay back" in wish and not heard:
        return call("look_up_order", {"order_id": "A-18"})
    if "pay back" in wish and len(heard) == 1:
        return call("pay_back", {"order_id": "A-18", "amount": 310})
    return say(heard[-1] if heard else "How can I help?")


# The example again as a second graph of the same server, switched off: what users see without us.
PLAIN = """
import importlib.util
import os
from pathlib import Path

os.environ["AGENTHER_ENABLED"] = "false"
spec = importlib.util.spec_from_file_location("example", Path(__file__).with_name("graph.py"))
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
del os.environ["AGENTHER_ENABLED"]
graph = example.graph
assert not (graph.config or {}).get("callbacks")
"""


def with_a_plain_twin(folder: Path) -> Path:
    config = folder / "langgraph.json"
    graphs = json.loads(config.read_text())
    graphs["graphs"]["plain"] = "./plain.py:graph"
    config.write_text(json.dumps(graphs))
    (folder / "plain.py").write_text(PLAIN)
    return folder


def test_the_server_loses_no_run_and_answers_as_without_us(tmp_path: Path) -> None:
    with ExitStack() as stack:
        model = stack.enter_context(OpenAIServer(support_desk))
        port = free_port()
        process = stack.enter_context(
            running(
                [*command(EXAMPLE, "langgraph dev", port=str(port)), "--no-reload"],  # nobody edits the copy
                with_a_plain_twin(copy_of(EXAMPLE, tmp_path)),
                {**model.environment, **OFFLINE},
                tmp_path / "server.log",
            )
        )
        recorded, plain = (Visit(process, f"http://127.0.0.1:{port}", model, graph) for graph in ("support", "plain"))
        recorded.all()
        plain.all()
        assert recorded.told == plain.told
        assert recorded.told["Please pay back A-18."]["questions"] == ["Pay 310 EUR back for A-18?"]

        # The server runs on meanwhile: the worker waits for no process to end. Of its twin there is nothing.
        with Live(tmp_path / EXAMPLE / "agenther", pii="redact") as live:
            live.feedback(run_id=recorded.runs["Compare both orders."][0], success=False, reason="too short")
            live.run_until_idle()
            check_trajectories(live, recorded)
            check_one_in_detail(live)
        assert process.ended is None
        assert "BlockingError" not in process.said
        assert "Traceback" not in process.said


def check_trajectories(live: Live, visit: Visit) -> None:
    rows = live.buffer.sql("select * from trajectories").dicts()
    assert {
        row["goal"]: (row["status"], row["n_runs"], row["n_steps"], row["final_answer"]) for row in rows
    } == EXPECTED
    assert len(rows) == len(EXPECTED)
    assert {(row["agent"], row["policy_version"], row["n_errors"]) for row in rows} == {("support", "support-1", 0)}
    assert {row["goal"]: row["thread_id"] for row in rows} == visit.threads
    [judged] = [row for row in rows if row["outcome_source"] == "person"]
    assert (judged["goal"], judged["outcome"]) == ("Compare both orders.", "failure")

    # The ids of the runs are the server's, each recorded once.
    runs = live.buffer.sql(
        "select goal, run_id from runs join trajectories using (trajectory_id) order by idx"
    ).fetchall()
    found: dict[str, list[str]] = {}
    for goal, run_id in runs:
        found.setdefault(goal, []).append(run_id)
    assert found == visit.runs
    assert len(runs) == RUNS
    # A slow volume may have sent writes to the journal's own thread; nothing else may have been counted.
    assert {name for (name,) in live.buffer.sql("select name from counters").fetchall()} <= {"journal_handovers"}


def check_one_in_detail(live: Live) -> None:
    """An approved call is one action, although the node that asked ran twice."""
    steps = live.buffer.sql(
        "select action_name, action_input, observation from steps join trajectories using (trajectory_id) "
        "where goal = 'Please pay back A-18.' order by steps.idx"
    ).fetchall()
    assert [(name, observation) for name, _, observation in steps] == [
        ("look_up_order", CHAIR),
        ("pay_back", PAID),
        (None, None),
    ]
    assert json.loads(steps[1][1]) == {"order_id": "A-18", "amount": 310}
    roles = live.buffer.sql(
        "select role, in_context from messages join trajectories using (trajectory_id) "
        "where goal = 'Thank you.' order by messages.idx"
    ).fetchall()
    earlier = ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [role for role, _ in roles] == [*earlier, "user", "assistant"]
    assert [role for role, in_context in roles if not in_context] == ["user", "assistant"]


class Visit:
    """Everything that users do with one graph, at the same time; `told` is what they see, without the ids."""

    def __init__(self, process: Process, url: str, model: OpenAIServer, graph: str) -> None:
        self.process = process
        self.url = url
        self.model = model
        self.graph = graph
        self.before = 0  # requests to the model before this visit
        self.told: dict[str, Any] = {}
        self.threads: dict[str, str] = {}
        self.runs: dict[str, list[str]] = {}

    def all(self) -> None:
        until(f"{self.url} answers", self.up, seconds=60)
        self.before = len(self.model.bodies)
        with get_sync_client(url=self.url) as client, ThreadPoolExecutor(16) as pool:
            jobs = [
                pool.submit(self.converse, client),
                pool.submit(self.stream, client, "Good morning!"),
                pool.submit(self.ask, client, "Please pay back A-18.", "yes"),
                pool.submit(self.ask, client, "Could you pay back A-18?", "too much"),
                pool.submit(self.ask, client, "You might pay back A-18."),
                pool.submit(self.cancel, client, "Let me wait for ever.", "interrupt"),
                pool.submit(self.cancel, client, "I wait for ever and a day.", "rollback"),
                *(pool.submit(self.ask, client, f"Show both orders, {i}.") for i in range(8)),
            ]
            for job in jobs:
                job.result(60)

    def up(self) -> bool | None:
        assert self.process.ended is None, self.process.said
        try:
            return httpx.get(f"{self.url}/ok").is_success
        except httpx.TransportError:
            return None

    def begin(self, client: SyncLangGraphClient, wish: str, thread: str | None = None) -> str:
        self.threads[wish] = thread or client.threads.create()["thread_id"]
        self.runs[wish] = []
        return self.threads[wish]

    def run(self, client: SyncLangGraphClient, wish: str, **options: Any) -> None:
        thread = self.threads[wish]
        run = client.runs.create(thread, self.graph, **options)
        self.runs[wish].append(run["run_id"])
        client.runs.join(thread, run["run_id"])
        assert client.runs.get(thread, run["run_id"])["status"] in ("success", "interrupted")

    def converse(self, client: SyncLangGraphClient) -> None:
        self.ask(client, "Compare both orders.")
        self.ask(client, "Thank you.", thread=self.threads["Compare both orders."])

    def ask(
        self, client: SyncLangGraphClient, wish: str, decision: str | None = None, thread: str | None = None
    ) -> None:
        thread = self.begin(client, wish, thread)
        self.run(client, wish, input=user(wish))
        state = client.threads.get_state(thread)
        questions = [interrupt["value"]["question"] for interrupt in state["interrupts"]]
        if decision is not None:
            self.run(client, wish, command={"resume": decision})
            state = client.threads.get_state(thread)
        messages = state["values"]["messages"]  # type: ignore[call-overload]
        calls = [(call["name"], call["args"]) for message in messages for call in message.get("tool_calls") or ()]
        said = [(message["type"], message["content"]) for message in messages]
        self.told[wish] = {"questions": questions, "calls": calls, "said": said}

    def stream(self, client: SyncLangGraphClient, wish: str) -> None:
        thread = self.begin(client, wish)
        parts = list(client.runs.stream(thread, self.graph, input=user(wish), stream_mode=["messages-tuple", "values"]))
        self.runs[wish] += [part.data["run_id"] for part in parts if part.event == "metadata"]
        self.told[wish] = {
            "events": [part.event for part in parts],
            "tokens": [part.data[0]["content"] for part in parts if part.event == "messages"],
            "answer": [part.data["messages"][-1]["content"] for part in parts if part.event == "values"][-1],
        }

    def cancel(self, client: SyncLangGraphClient, wish: str, action: Any) -> None:
        thread = self.begin(client, wish)
        run = client.runs.create(thread, self.graph, input=user(wish))
        self.runs[wish].append(run["run_id"])
        until("the model is asked", lambda: wish in self.asked() or None)
        client.runs.cancel(thread, run["run_id"], wait=True, action=action)
        self.told[wish] = {"status": client.threads.get(thread)["status"]}

    def asked(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.model.bodies[self.before :]]


def user(wish: str) -> Any:
    return {"messages": [{"role": "user", "content": wish}]}
