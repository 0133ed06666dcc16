"""A sub-agent as a trajectory of its own, and the version of what an agent could call."""

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from agenther_live.assemble import subagent, subagents, tools_version
from agenther_live.errors import UsageError
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def family(*, fails: bool = False):
    """A boss whose tool asks an expert, whose tool asks a clerk."""

    @tool
    def look_up(question: str) -> str:
        """Ask the clerk."""
        if fails:
            raise RuntimeError("the archive burns")
        clerk = create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))), [add], name="clerk")
        return str(clerk.invoke(user(question))["messages"][-1].content)

    @tool
    def consult(question: str) -> str:
        """Ask the expert."""
        lines = (ask(("look_up", {"question": "sum?"})), say("it is two"))
        expert = create_agent(Scripted(script=by_turn(*lines)), [look_up], system_prompt="You know.", name="expert")
        return str(expert.invoke(user(question))["messages"][-1].content)

    lines = (ask(("consult", {"question": "1+1?"})), say("two, says the expert"))
    return create_agent(Scripted(script=by_turn(*lines)), [consult], checkpointer=InMemorySaver())


def test_a_sub_agent_and_its_own(recording: Recording):
    config = {"configurable": {"thread_id": "t"}, "metadata": {"team": "blue"}}
    drive(recording.attach(family(), policy_version="p1", tags=["x"]), user("what is 1+1"), config)
    whole = recording.only()
    expert, clerk = subagents(whole)
    assert (expert.agent, expert.goal, expert.final_answer) == ("expert", "1+1?", "it is two")
    assert (roles(expert), expert.context_len, expert.status) == ("suata", 1, "finished")
    assert acts(expert) == [[("look_up", "two", False)], []]
    assert [expert.messages[step.message_index or 0].role for step in expert.root_steps] == ["assistant", "assistant"]
    assert [step.idx for step in expert.steps] == list(range(4))
    assert [tool["function"]["name"] for tool in expert.tools or ()] == ["look_up"]
    assert (expert.policy_version, expert.tags, expert.metadata, expert.thread_id) == (
        "p1",
        ("x",),
        {"team": "blue"},
        "t",
    )
    assert list(expert.nested) == ["look_up/clerk"]
    assert subagent(expert, "look_up/clerk").messages == clerk.messages
    assert (clerk.agent, clerk.goal, clerk.final_answer, clerk.nested) == ("clerk", "sum?", "two", {})
    assert acts(clerk) == [[("add", "2", False)], []]
    assert len({whole.trajectory_id, expert.trajectory_id, clerk.trajectory_id}) == 3
    assert roles(whole) == "uata"


def test_a_sub_agent_that_gave_no_answer_has_the_status_of_the_whole(recording: Recording):
    with quiet(RuntimeError):
        drive(recording.attach(family(fails=True)), user("go"), {"configurable": {"thread_id": "t"}})
    expert = subagent(recording.only(), "consult/expert")
    assert (expert.status, expert.error_type, expert.final_answer) == ("error", "RuntimeError", None)
    assert acts(expert) == [[("look_up", "the archive burns", True)]]


def test_a_path_that_is_not_there(recording: Recording):
    drive(recording.attach(family()), user("go"), {"configurable": {"thread_id": "t"}})
    with pytest.raises(UsageError, match=r"no sub-agent 'exprt'; it has: consult/expert, consult/expert/look_up/clerk"):
        subagent(recording.only(), "exprt")


def test_the_version_of_tools_is_that_of_their_schemas():
    one = {"type": "function", "function": {"name": "a", "description": "A.", "parameters": {"x": 1, "y": 2}}}
    same = {"function": {"parameters": {"y": 2, "x": 1}, "description": "A.", "name": "a"}, "type": "function"}
    other = {"type": "function", "function": {"name": "b"}}
    changed = {"type": "function", "function": {**one["function"], "description": "Another A."}}  # type: ignore[dict-item]
    assert tools_version([one, other]) == tools_version([other, same])
    assert len({tools_version(tools) for tools in ([one], [changed], [other], [one, other])}) == 4
    assert tools_version([]) is tools_version(None) is None
    assert len(tools_version([one]) or "") == 16
