"""What `test_deaths` lets other processes do: real agents in processes that fork, are killed, and end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from tests.capture.kit import Recording, Scripted, ask, by_turn, say, user
from tests.forking import exit_interpreter


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def short(recording: Recording) -> Any:
    """An agent that is done in one step."""
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two")))
    return recording.attach(create_agent(model, [add]))


def endless(recording: Recording, begun: Any) -> Any:
    """An agent whose second tool never ends; `begun` is called once what it did before is written."""

    @tool
    def doze() -> str:
        """Sleep for ever."""
        while any(root.pending for root in tuple(recording.capture.roots.values())):
            time.sleep(0.002)
        time.sleep(0.02)  # from the timer's hand to the file
        begun()
        time.sleep(60)
        return "never"

    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 2})), ask(("doze", {})), say("never")))
    return recording.attach(create_agent(model, [add, doze]))


def kill_at_random(folder: Path, kills: int, inherited: bool, said: Connection) -> None:
    """Fork processes that work, and kill each at a random moment; tell which runs had returned before.

    Each also has a run that does not end, and a forked child that does nothing and lives on. With `inherited` the
    graphs are attached before the fork, as in a server that loads its application first; the server then also has
    a run open of its own the while, which ends well.
    """
    recording = Recording(folder, flush_seconds=0.02)
    graph, leave, entered = short(recording), threading.Event(), threading.Event()

    @tool
    def wait() -> str:
        """Wait for the end of all."""
        entered.set()
        leave.wait(100)
        return "waited"

    waiting = recording.attach(create_agent(Scripted(script=by_turn(ask(("wait", {})), say("done"))), [wait]))
    server = threading.Thread(target=waiting.invoke, args=(user("server"),))
    server.start()
    entered.wait(10)
    returned: list[str] = []
    idle: list[int] = []
    for victim in range(kills):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            with contextlib.suppress(BaseException):
                work_until_killed(recording if inherited else None, graph, folder, victim, writing, 60 + 3 * kills)
            os._exit(1)
        os.close(writing)
        with open(reading, "rb") as file:
            idle.append(int(file.readline()))
            begun = [file.readline() for _ in range(2)]  # the endless run is written so far, and a first one returned
            if not begun[1]:
                raise RuntimeError(f"victim {victim} ended by itself")
            time.sleep(random.uniform(0, 0.03))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.set_blocking(reading, False)  # the idle child holds the other end
            rest = file.read() or b""
        returned += [line.decode().strip() for line in (begun[1], *rest.splitlines())]
    leave.set()
    server.join()
    said.send((returned, idle))
    recording.writer.close()


def work_until_killed(
    recording: Recording | None, graph: Any, folder: Path, victim: int, writing: int, idle_seconds: float
) -> None:
    if (pid := os.fork()) == 0:  # an idle child, which shares every open file; the test ends it
        time.sleep(idle_seconds)
        os._exit(0)
    os.write(writing, f"{pid}\n".encode())
    if recording is None:
        recording = Recording(folder, flush_seconds=0.02)
        graph = short(recording)
    begun = threading.Event()
    agent = endless(recording, begun.set)
    threading.Thread(target=agent.invoke, args=(user(f"{victim}-open"),), daemon=True).start()
    if not begun.wait(30):
        raise TimeoutError("the endless run is not in the file")
    os.write(writing, b"begun\n")
    number = 0
    while True:
        graph.invoke(user(f"{victim}-{number}"))
        os.write(writing, f"{victim}-{number}\n".encode())
        number += 1


def end(folder: Path, how: str) -> None:
    """End the interpreter with a run open in another thread and counters not yet written."""
    recording = Recording(folder, flush_seconds=60)
    begun = threading.Event()

    @tool
    def leave() -> str:
        """Leave in the middle of a run."""
        if how == "sys.exit":
            sys.exit(3)
        if how == "KeyboardInterrupt":
            signal.raise_signal(signal.SIGINT)
        return "stayed"

    def doze(state: MessagesState) -> dict[str, Any]:
        begun.set()
        time.sleep(60)
        return {}

    builder = StateGraph(
        MessagesState
    )  # its nodes run in the caller's thread: the interpreter waits for those of pools
    builder.add_node("work", lambda state: {"messages": [("assistant", str(add.invoke({"a": 1, "b": 2})))]})
    builder.add_node("doze", doze)
    builder.add_edge(START, "work")
    builder.add_edge("work", "doze")
    threading.Thread(target=recording.attach(builder.compile()).invoke, args=(user("open"),), daemon=True).start()
    begun.wait(10)
    lines = (ask(("add", {"a": 1, "b": 2})), ask(("leave", {})), say("done"))
    agent = recording.attach(create_agent(Scripted(script=by_turn(*lines)), [add, leave]))
    recording.capture.sink.count("left")
    code = 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agent.invoke(user("main"))
    except SystemExit as error:
        code = int(str(error.code))
    except KeyboardInterrupt:
        code = 130
    exit_interpreter(code)


@tool
def confirm() -> str:
    """Ask a person."""
    return f"user said {interrupt('ok?')}"


def one_run(home: Path, checkpoints: Path, given: str) -> None:
    """One run of a thread whose checkpoints lie in a SQLite file: it asks, or it answers."""
    recording = Recording(home)
    lines = (ask(("add", {"a": 1, "b": 2}), ("confirm", {})), say("done"))
    with SqliteSaver.from_conn_string(str(checkpoints)) as saver:
        graph = create_agent(Scripted(script=by_turn(*lines)), [add, confirm], checkpointer=saver)
        attached = recording.attach(graph, policy_version=given, name="asker")
        said = Command(resume="yes") if given == "resume" else user("go")
        attached.invoke(said, {"configurable": {"thread_id": "t"}})
    recording.writer.close()
