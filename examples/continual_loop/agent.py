"""The agent: a LangGraph graph of a chat model (the policy) and its tools, run one episode at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import torch
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from pydantic import ConfigDict
from transformers import LlamaForCausalLM

from examples.continual_loop import language
from examples.continual_loop.policy import MAX_TOKENS, TURN_TOKENS, Cache, forward, noise_of
from examples.continual_loop.worlds import MAX_TURNS, Refusal, Run, World

__all__ = ["PolicyModel", "build_agent", "call_of"]

_AGENT, _END = language.VOCABULARY[language.AGENT], language.VOCABULARY[language.END]


class PolicyModel(BaseChatModel):
    """The policy as a chat model. `seed`, given with each call, is the episode's: it decides what is sampled."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    policy: LlamaForCausalLM
    world: World

    @property
    def _llm_type(self) -> str:
        return "continual-loop-policy"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, *, seed: int = 0, **_: Any
    ) -> ChatResult:
        told: Any = convert_to_openai_messages(messages)
        turn = language.read_turn(self._said(told, seed), self.world)
        if isinstance(turn, str):
            message = AIMessage(turn)
        else:
            name, args, said = turn
            message = AIMessage(said, tool_calls=[{"name": name, "args": args, "id": f"call_{len(messages)}"}])
        return ChatResult(generations=[ChatGeneration(message=message)])

    @torch.no_grad()
    def _said(self, messages: Sequence[Any], seed: int) -> list[str]:
        ids = [*language.encode(messages)[0], _AGENT]
        noise, cache, said = noise_of(seed), Cache.empty(1), list[str]()
        while len(said) < TURN_TOKENS and len(ids) < MAX_TOKENS:
            logits = forward(self.policy, torch.tensor([ids[cache.length :]]), cache)[0, -1]
            token = int((logits + noise[len(ids) - 1]).argmax())
            if token == _END:
                break
            ids.append(token)
            said.append(language.WORDS[token])
        return said


class State(TypedDict):
    """The conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def build_agent(model: PolicyModel, runs: dict[str, Run]) -> Any:
    """The compiled graph. `runs` are the attempts by thread id: the tools act on the one of the thread that calls."""

    def think(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config, seed=config["configurable"]["seed"])]}

    def next_of(state: State) -> str:
        last = state["messages"][-1]
        return "tools" if isinstance(last, AIMessage) and last.tool_calls else END

    def again(state: State) -> str:
        return END if sum(isinstance(each, AIMessage) for each in state["messages"]) >= MAX_TURNS else "think"

    builder = StateGraph(State)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode(_tools(model.world, runs), handle_tool_errors=_explain))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", next_of, ["tools", END])
    builder.add_conditional_edges("tools", again, ["think", END])
    return builder.compile(name=model.world.name)


def call_of(run: Run) -> tuple[Any, Any]:
    """The arguments of `invoke` for an attempt."""
    config = {"configurable": {"thread_id": str(run.seed), "seed": run.seed}, "recursion_limit": 3 * MAX_TURNS}
    return {"messages": [("user", run.goal.text)]}, config


def _explain(error: ToolException) -> str:
    return str(error)


def _tools(world: World, runs: dict[str, Run]) -> list[BaseTool]:
    def act(config: RunnableConfig, name: str, **args: Any) -> dict[str, Any]:
        try:
            return runs[config["configurable"]["thread_id"]].act(name, args)
        except Refusal as refusal:
            raise ToolException(str(refusal)) from None

    @tool
    def pick(code: str, config: RunnableConfig) -> dict[str, Any]:
        """Pick the item of a code."""
        return act(config, "pick", code=code)

    @tool
    def wrap(code: str, config: RunnableConfig) -> dict[str, Any]:
        """Wrap what was picked in the paper of a code."""
        return act(config, "wrap", code=code)

    @tool
    def ship(code: str, config: RunnableConfig) -> dict[str, Any]:
        """Ship what was picked to the city of a code."""
        return act(config, "ship", code=code)

    @tool
    def check_stock(config: RunnableConfig) -> dict[str, Any]:
        """Check the stock."""
        return act(config, "check_stock")

    @tool
    def list_offers(code: str, config: RunnableConfig) -> dict[str, Any]:
        """List the offers for the item of a code, dearest first."""
        return act(config, "list_offers", code=code)

    @tool
    def place_order(shop: str, city: str, quantity: int, config: RunnableConfig) -> dict[str, Any]:
        """Order a quantity from a shop in a city."""
        return act(config, "place_order", shop=shop, city=city, quantity=quantity)

    made = (pick, wrap, ship, check_stock, list_offers, place_order)
    return [each for each in made if each.name in world.tools]
