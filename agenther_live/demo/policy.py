"""The deterministic policy as a real chat model: no key, no network, and the faults of real agents."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from agenther_live.demo import DEFAULT_SEED
from agenther_live.demo.habits import temperament
from agenther_live.demo.memory import Memory
from agenther_live.demo.moves import next_move


class PolicyChatModel(BaseChatModel):
    """Decides from the messages alone; the same messages and seed give the same reply, to the last call id."""

    model_name: str = "demo-policy-1"
    seed: int = DEFAULT_SEED

    @property
    def _llm_type(self) -> str:
        return "demo-policy"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "seed": self.seed}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tool schemas in the OpenAI form, so that callbacks see them as with any other model."""
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages)):
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._reply(messages)):
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    def _reply(self, messages: Sequence[BaseMessage]) -> AIMessage:
        memory = Memory.read(messages)
        move = next_move(memory, temperament(memory.goal, seed=self.seed))
        turn = hashlib.sha256(f"{self.seed}/{len(messages)}/{memory.goal}".encode()).hexdigest()[:12]
        calls = [ToolCall(name=c.tool, args=c.args, id=f"call_{turn}_{i}") for i, c in enumerate(move.calls)]
        read = sum(len(str(message.text)) for message in messages) // 4
        wrote = (len(move.text) + sum(len(str(call["args"])) for call in calls)) // 4
        return AIMessage(
            content=move.text,
            tool_calls=calls,
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote),
            response_metadata={
                "model_name": self.model_name,
                "finish_reason": "tool_calls" if calls else "stop",
            },
        )


def _chunks(reply: AIMessage) -> Iterator[ChatGenerationChunk]:
    """The reply in pieces, as providers stream it: the text word by word, each tool call, then the usage."""
    words = str(reply.text).split(" ")
    for number, word in enumerate(words):
        yield ChatGenerationChunk(message=AIMessageChunk(content=word if number == 0 else f" {word}"))
    for index, call in enumerate(reply.tool_calls):
        piece = tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))
    yield ChatGenerationChunk(
        message=AIMessageChunk(
            content="", usage_metadata=reply.usage_metadata, response_metadata=reply.response_metadata
        )
    )
