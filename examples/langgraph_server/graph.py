"""A support agent that asks a person before it pays money back; every run of it is recorded."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.types import interrupt

from agenther_live import Live

ORDERS = {"A-17": "2 desk lamps, 84 EUR, delivered", "A-18": "1 office chair, 310 EUR, lost in transit"}


@tool
async def look_up_order(order_id: str) -> str:
    """Look up an order: what it holds, what it cost, and where it is."""
    return ORDERS.get(order_id, f"There is no order {order_id}.")


@tool
async def pay_back(order_id: str, amount: float) -> str:
    """Pay money back for an order. A person decides."""
    answer = interrupt({"question": f"Pay {amount:g} EUR back for {order_id}?"})
    if answer != "yes":
        return f"Not paid: {answer}"
    return f"Paid {amount:g} EUR back for {order_id}."


live = Live(pii="redact")  # the home is AGENTHER_HOME, or ./agenther

graph = live.attach(
    create_agent(
        ChatOpenAI(model="gpt-4o-mini"),
        tools=[look_up_order, pay_back],
        system_prompt="You are the support desk of an office supplier. Look orders up before you speak of them.",
    ),
    name="support",
    policy_version="support-1",
)
