"""Two agents over one world: one made by `create_agent`, one graph built by hand. Both compiled, ready to attach."""

from typing import Annotated, Any, TypeAlias, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from agenther_live.demo import DEFAULT_SEED
from agenther_live.demo.policy import PolicyChatModel
from agenther_live.demo.world import World, build_tools

RECURSION_LIMIT = 40

SYSTEM_PROMPT = (
    "You are the procurement assistant of a company with offices in several cities. "
    "Find suppliers with the tools, compare their offers, and order or report as the user asks. "
    "State only prices and delivery times that a tool returned."
)

Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]


class State(TypedDict):
    """The hand-built graph's state: the conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def build_agents(world: World, *, seed: int = DEFAULT_SEED, checkpoints: bool = False) -> dict[str, Graph]:
    """Both agents over the world, by name. With `checkpoints` each keeps its threads in memory.

    Run them with `config={"configurable": {"thread_id": task.task_id}}`: the world books orders by thread id. A run may
    raise `GraphRecursionError`, as an agent does that never stops retrying.
    """
    model = PolicyChatModel(seed=seed)
    return {
        "buyer": build_buyer(world, model, checkpoints=checkpoints),
        "sourcer": build_sourcer(world, model, checkpoints=checkpoints),
    }


def build_buyer(world: World, model: PolicyChatModel, *, checkpoints: bool = False) -> Graph:
    """The agent made by `create_agent`; its tools turn their own errors into tool messages."""
    graph: Graph = create_agent(
        model,
        tools=build_tools(world, handle_errors=True),
        system_prompt=SYSTEM_PROMPT,
        checkpointer=InMemorySaver() if checkpoints else None,
        name="buyer",
    )
    return graph.with_config(recursion_limit=RECURSION_LIMIT)


def build_sourcer(world: World, model: PolicyChatModel, *, checkpoints: bool = False) -> Graph:
    """The graph built by hand; its tools raise, and the tool node turns what they raise into tool messages."""
    tools = build_tools(world)
    bound = model.bind_tools(tools)

    def think(state: State) -> dict[str, list[AnyMessage]]:
        return {"messages": [bound.invoke([SystemMessage(SYSTEM_PROMPT), *state["messages"]])]}

    async def athink(state: State) -> dict[str, list[AnyMessage]]:
        return {"messages": [await bound.ainvoke([SystemMessage(SYSTEM_PROMPT), *state["messages"]])]}

    builder = StateGraph(State)
    builder.add_node("think", RunnableLambda(think, afunc=athink))
    builder.add_node("tools", ToolNode(tools, handle_tool_errors=_explain))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    graph: Graph = builder.compile(checkpointer=InMemorySaver() if checkpoints else None, name="sourcer")
    return graph.with_config(recursion_limit=RECURSION_LIMIT)


def _explain(error: ToolException) -> str:
    return f"Error: {error}"
