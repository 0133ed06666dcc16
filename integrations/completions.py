"""A ChatOpenAI whose requests are sent, and whose answers are read, as they are.

The client's own way holds every message of a request against all the forms that a message may have, builds an object
of every part of an answer for LangChain to take apart again, and does that last step in a thread: half of what a call
costs in CPU. Here the request goes by `client.post`, which the SDK documents for any path of the API, so that
authentication, limits, connections and the tree of errors stay the SDK's; LangChain's own function reads the answer.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI

from agenther_live.integrations.connections import Response

__all__ = ["PlainChatOpenAI"]


class PlainChatOpenAI(ChatOpenAI):
    """ChatOpenAI for single answers to single prompts over `/chat/completions`.

    Arguments, errors and replies are those of ChatOpenAI. `response_format` is sent as it is given, and never parsed.
    """

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body = self._get_request_payload(messages, stop=stop, **kwargs)
        body |= body.pop("extra_body", None) or {}
        answer = (await self.root_async_client.post("/chat/completions", body=body, cast_to=Response)).json()
        result = self._create_chat_result(answer)
        for choice, generation in zip(answer["choices"], result.generations, strict=True):
            if refusal := choice["message"].get("refusal"):
                generation.message.additional_kwargs["refusal"] = refusal
        return result
