"""A chat service: an attached agent behind FastAPI, in as many processes as the server likes."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from fastapi import FastAPI
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from agenther_live import Live

logger = logging.getLogger("uvicorn.error")
STOCK = {"desk lamp": 12, "office chair": 0, "monitor": 7}


@tool
async def stock_of(item: str) -> str:
    """How many of an item are in stock."""
    return f"{STOCK[item]} in stock" if item in STOCK else f"{item} is not on sale"


live = Live(pii="redact")  # the home is AGENTHER_HOME, or ./agenther: one for all processes

agent = live.attach(
    create_agent(
        ChatOpenAI(model="gpt-4o-mini"),
        tools=[stock_of],
        system_prompt="You are the shop's assistant. Say only what the tools say.",
    ),
    name="shop",
    policy_version="shop-1",
    subject_key="user_id",
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    # One worker serves a home. Where one runs already, here or elsewhere, start() leaves it the work.
    works = live.start()
    logger.info("process %d %s", os.getpid(), "captures and works" if works else "captures")
    yield
    live.close()


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    text: str
    user_id: str | None = None


class Answer(BaseModel):
    run_id: UUID
    text: str


class Feedback(BaseModel):
    run_id: UUID
    success: bool
    reason: str | None = None


@app.post("/chat")
async def chat(question: Question) -> Answer:
    run_id = uuid4()
    config: RunnableConfig = {"run_id": run_id}
    if question.user_id is not None:
        config["metadata"] = {"user_id": question.user_id}
    result = await agent.ainvoke({"messages": [HumanMessage(question.text)]}, config)
    return Answer(run_id=run_id, text=result["messages"][-1].text)


@app.post("/feedback", status_code=204)
async def feedback(feedback: Feedback) -> None:
    # Any process may take it: the worker finds the run that it is about.
    live.feedback(run_id=str(feedback.run_id), success=feedback.success, reason=feedback.reason)
