"""What test_instrument runs in a process of its own: global capture cannot be undone."""

import json
import threading
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from agenther_live.integrations.langgraph import instrument
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm() -> str:
    """Ask."""
    return str(interrupt("ok?"))


def main(folder: Path) -> None:
    recording = Recording(folder)
    instrument(recording.recorder())
    instrument(recording.recorder())
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two")))
    plain = create_agent(model, [add])
    plain.invoke(user("plain"))
    recording.attach(plain, name="both").invoke(user("both"))
    plain.invoke(user("explicit"), {"callbacks": [recording.recorder()]})
    thread = threading.Thread(target=plain.invoke, args=(user("thread"),))
    thread.start()
    thread.join()
    model.invoke("bare model")
    add.invoke({"a": 1, "b": 1})
    RunnableLambda(lambda x: x).invoke("bare chain")

    asking = create_agent(
        Scripted(script=by_turn(ask(("confirm", {})), say("done"))), [confirm], checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "t"}}
    asking.invoke(user("dynamic"), config)
    asking.invoke(Command(resume="yes"), config)

    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [ask(("add", {"a": 1, "b": 1}))]})
    builder.add_node("after", lambda s: {})
    builder.add_edge(START, "talk")
    builder.add_edge("talk", "after")
    stopping = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["after"])
    stopping.invoke(user("static"), {"configurable": {"thread_id": "s"}})

    found = recording.trajectories()
    recording.clean()
    told = {t.goal: [t.agent, t.status, len(t.runs), roles(t), [a for step in acts(t) for a in step]] for t in found}
    (folder / "told.json").write_text(json.dumps(told))
