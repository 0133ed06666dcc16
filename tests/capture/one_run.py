"""Run in a process of its own by test_processes: one run of a thread whose checkpoints lie in a SQLite file."""

import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt

from tests.capture.kit import Recording, Scripted, ask, by_turn, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm() -> str:
    """Ask a person."""
    return f"user said {interrupt('ok?')}"


def main(home: str, checkpoints: str, given: str) -> None:
    recording = Recording(Path(home))
    lines = (ask(("add", {"a": 1, "b": 2}), ("confirm", {})), say("done"))
    with SqliteSaver.from_conn_string(checkpoints) as saver:
        graph = create_agent(Scripted(script=by_turn(*lines)), [add, confirm], checkpointer=saver)
        attached = recording.attach(graph, policy_version=given)
        said = Command(resume="yes") if given == "resume" else user("go")
        attached.invoke(said, {"configurable": {"thread_id": "t"}})
    recording.writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
