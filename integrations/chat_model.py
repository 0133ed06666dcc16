"""Relabelers and judges over LangChain chat models: `openai:gpt-4o-mini`, a server of one's own, or any model object.

One call, one HTTP request: retries are made in one place (`agenther_live.replies`), never here or below. Text leaves
the machine only where the settings say so.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from agenther_live.errors import ModelError, SettingsError, TerminalModelError, TransientModelError
from agenther_live.relabel.models import ModelReply, ModelRequest
from agenther_live.settings import Settings

__all__ = ["LangChainModel", "chat_model"]

_OPENAI_URL = "https://api.openai.com/v1"
_OPTIONS = ("base_url", "api_key_env", "max_tokens", "timeout_seconds", "temperature", "reasoning_effort", "output")
_QUIET = {"callbacks": [], "tags": ["agenther:off"], "run_name": "agenther-live"}
Output = Literal["schema", "object", "plain"]
_WEAKER: dict[Output, Output] = {"schema": "object", "object": "plain"}


@dataclass(frozen=True)
class _Spec:
    provider: str
    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    max_tokens: int | None = None
    timeout_seconds: float | None = None
    temperature: str | None = None  # a number, or 'none' for models that refuse the parameter
    reasoning_effort: str | None = None
    output: Output = "schema"

    @property
    def name(self) -> str:
        return f"{self.provider}:{self.model}"


def chat_model(spec: str | Mapping[str, Any] | BaseChatModel, *, settings: Settings) -> LangChainModel:
    """Make a chat model from `provider:name[,option=value…]`, a mapping with the same keys and `model`, or an object.

    Options: base_url, api_key_env, max_tokens, timeout_seconds, temperature (a number for every call, or `none`),
    reasoning_effort, output (`schema`, `object` or `plain`: where to start asking for JSON).

    Raises:
        SettingsError: an unknown model string or option, no API key, text may not go to that host, or nothing is set
            about personal data. Nothing was asked of any model yet.
    """
    if isinstance(spec, BaseChatModel):
        name, url = _described(spec)
        _check_host(name, url, settings)
        return LangChainModel(name, identity=f"{name}@{url or 'object'}", settings=settings, given=spec)
    wanted = _read_spec(spec)
    if wanted.provider == "openai":
        url = wanted.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or _OPENAI_URL
        _check_host(wanted.name, url, settings)
        return LangChainModel(
            wanted.name,
            identity=f"{wanted.name}@{url}",
            settings=settings,
            spec=wanted,
            url=url,
            key=_api_key(wanted, url),
        )
    _check_host(wanted.name, wanted.base_url, settings)
    return LangChainModel(
        wanted.name,
        identity=f"{wanted.name}@{wanted.base_url}",
        settings=settings,
        given=_other_provider(wanted, settings),
    )


def _read_spec(spec: str | Mapping[str, Any]) -> _Spec:
    if isinstance(spec, Mapping):
        options = {str(key): value for key, value in spec.items()}
        head = str(options.pop("model", ""))
        if "provider" in options:
            head = f"{options.pop('provider')}:{head}"
    else:
        head, *rest = spec.split(",")
        options = {}
        for part in rest:
            key, equals, value = part.partition("=")
            if not equals:
                raise SettingsError(
                    f"model {spec!r}: {part!r} is no option; write name=value, with one of {', '.join(_OPTIONS)}"
                )
            options[key.strip()] = value.strip()
    provider, colon, model = head.strip().partition(":")
    if not colon or not provider or not model:
        raise SettingsError(
            f"unknown model {head!r}: write 'provider:name', such as 'openai:gpt-4o-mini'; "
            "built in are the relabeler 'template' and the judge 'rules'"
        )
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SettingsError(f"model {head!r}: unknown option {unknown[0]!r}; allowed: {', '.join(_OPTIONS)}")
    try:
        if options.get("max_tokens") is not None:
            options["max_tokens"] = int(options["max_tokens"])
        if options.get("timeout_seconds") is not None:
            options["timeout_seconds"] = float(options["timeout_seconds"])
        if options.get("temperature") is not None:
            options["temperature"] = str(options["temperature"])
            if options["temperature"] != "none":
                float(options["temperature"])
    except ValueError as error:
        raise SettingsError(f"model {head!r}: {error}") from None
    if options.get("output", "schema") not in ("schema", "object", "plain"):
        raise SettingsError(f"model {head!r}: output={options['output']!r}; allowed: schema, object, plain")
    if options.get("base_url") is not None and not urlsplit(str(options["base_url"])).hostname:
        raise SettingsError(
            f"model {head!r}: base_url={options['base_url']!r} is no URL such as http://127.0.0.1:8000/v1"
        )
    return _Spec(provider=provider, model=model, **options)


def _api_key(spec: _Spec, url: str) -> str:
    variable = spec.api_key_env or "OPENAI_API_KEY"
    key = os.environ.get(variable, "").strip()
    if key:
        return key
    if spec.api_key_env is None and _is_loopback(url):
        return "none-needed"  # servers on this machine seldom ask for one
    raise SettingsError(
        f"model {spec.name!r}: no API key; set the variable {variable}, or name another with api_key_env=…"
    )


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_host(name: str, url: str | None, settings: Settings) -> None:
    """Refuse a host that text may not go to. A model whose host cannot be told counts as remote."""
    host = urlsplit(url).hostname if url else None
    if settings.allowed_hosts is not None and host not in settings.allowed_hosts:
        raise SettingsError(
            f"model {name!r}: text may not go to {host or 'an unknown host'}; "
            f"allowed_hosts = {', '.join(settings.allowed_hosts) or 'none'}"
        )
    if settings.pii is None and not (url and _is_loopback(url)):
        raise SettingsError(
            f"model {name!r} is at {host or 'an unknown host'}, not on this machine, and nothing is said about "
            "personal data: set pii='redact' or pii='keep' (argument, AGENTHER_PII, --pii, or pii in agenther.toml)"
        )


def _described(model: BaseChatModel) -> tuple[str, str | None]:
    """A name and, where the object tells it, the URL of a model object."""
    label = next(
        (str(value) for key in ("model_name", "model", "model_id") if (value := getattr(model, key, None))),
        type(model).__name__,
    )
    url = next(
        (
            str(value)
            for key in ("openai_api_base", "anthropic_api_url", "base_url", "endpoint_url")
            if (value := getattr(model, key, None))
        ),
        None,
    )
    kind = str(getattr(model, "_llm_type", type(model).__name__)).removesuffix("-chat")
    if url is None and kind == "openai":
        url = os.environ.get("OPENAI_BASE_URL") or _OPENAI_URL
    return f"{kind}:{label}", url


def _other_provider(spec: _Spec, settings: Settings) -> BaseChatModel:
    from langchain.chat_models import init_chat_model

    options: dict[str, Any] = {"max_retries": 0, "timeout": spec.timeout_seconds or settings.request_timeout_seconds}
    if spec.base_url:
        options["base_url"] = spec.base_url
    if spec.max_tokens is not None:
        options["max_tokens"] = spec.max_tokens
    if spec.api_key_env:
        key = os.environ.get(spec.api_key_env, "").strip()
        if not key:
            raise SettingsError(f"model {spec.name!r}: no API key; set the variable {spec.api_key_env}")
        options["api_key"] = key
    try:
        return cast(BaseChatModel, init_chat_model(spec.model, model_provider=spec.provider, **options))
    except ImportError as error:
        raise SettingsError(f"model {spec.name!r}: its package is not installed: {error}") from None
    except Exception as error:  # every provider has its own errors for a missing key or an unknown option
        raise SettingsError(f"model {spec.name!r} cannot be made: {error}") from None


class LangChainModel:
    """A LangChain chat model as relabeling sees it: one request, one reply, errors told apart.

    A client belongs to one event loop: each loop that asks gets one of its own, closed when the loop shuts down.
    """

    def __init__(
        self,
        name: str,
        *,
        identity: str,
        settings: Settings,
        spec: _Spec | None = None,
        url: str = "",
        key: str = "",
        given: BaseChatModel | None = None,
    ) -> None:
        """Made by `chat_model`."""
        self._name = name
        self.identity = identity
        self._spec = spec
        self._url = url
        self._key = key
        self._given = given
        self._timeout = (spec.timeout_seconds if spec else None) or settings.request_timeout_seconds
        self._output: Output = spec.output if spec else "schema"
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, BaseChatModel] = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        """`provider:model`."""
        return self._name

    @property
    def output(self) -> Output:
        """How JSON is asked for: what the spec says at first, then what the server was found to take."""
        return self._output

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Ask once.

        Where a server refuses a way of asking for JSON, the next weaker one is tried, and remembered if it works.

        Raises:
            TransientModelError: 408, 409, 429, 5xx, a timeout, a broken connection or answer.
            TerminalModelError: 400, 401, 403, 404, or no money left in the account.
        """
        output = self._output
        while True:
            try:
                reply = await self._ask(request, output)
            except _FormatRefused as refused:
                weaker = _WEAKER.get(output)
                if weaker is None:
                    raise TerminalModelError(str(refused)) from None
                output = weaker
                continue
            self._output = output
            return reply

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost, in US dollars by genai-prices; None where it is not known."""
        return _price(self.name, self._url, prompt_tokens, completion_tokens)

    async def _ask(self, request: ModelRequest, output: Output) -> ModelReply:
        model, is_openai = await self._model()
        messages, options = _payload(request, output if is_openai else "plain")
        if is_openai and not (self._spec and self._spec.temperature == "none"):
            fixed = self._spec.temperature if self._spec else None
            options["temperature"] = request.temperature if fixed is None else float(fixed)
        try:
            # The client's own limit comes first; this one is for a server that sends a byte now and then.
            async with asyncio.timeout(self._timeout + 5):
                answer = await model.ainvoke(messages, config=cast(Any, _QUIET), **options)
        except TimeoutError:
            raise TransientModelError(f"{self.name}: no answer within {self._timeout:g} s") from None
        except Exception as error:
            raised = _translated(self.name, error, asked_for_format=output != "plain" and is_openai)
            if raised is None:
                return ModelReply("", "context_length", self.name)
            raise raised from error
        return self._read(answer)

    async def _model(self) -> tuple[BaseChatModel, bool]:
        from langchain_openai.chat_models.base import BaseChatOpenAI

        if self._given is not None:
            return self._given, isinstance(self._given, BaseChatOpenAI)
        loop = asyncio.get_running_loop()
        known = self._clients.get(loop)
        if known is None:
            http, known = self._connect()
            self._clients[loop] = known
            closing = _close_with_loop(http)
            _CLOSING.setdefault(loop, []).append(closing)
            await anext(closing)
        return known, True

    def _connect(self) -> tuple[Any, BaseChatModel]:
        import openai
        from langchain_openai.chat_models.base import global_ssl_context
        from pydantic import SecretStr

        from agenther_live.integrations.completions import PlainChatOpenAI
        from agenther_live.integrations.connections import http_client

        assert self._spec is not None
        # Reading the certificates takes a third of a second: once is enough.
        http = http_client(timeout=self._timeout, verify=global_ssl_context)
        extra: dict[str, Any] = {}
        if self._spec.max_tokens is not None:
            extra["max_tokens"] = self._spec.max_tokens
        if self._spec.reasoning_effort is not None:
            extra["reasoning_effort"] = self._spec.reasoning_effort
        model = PlainChatOpenAI(
            model=self._spec.model,
            base_url=self._url,
            api_key=SecretStr(self._key),
            max_retries=0,
            timeout=self._timeout,
            http_async_client=http,
            http_client=openai.DefaultHttpxClient(verify=global_ssl_context),  # never used, and else built at a cost
            use_responses_api=False,
            **extra,
        )
        return http, model

    def _read(self, answer: Any) -> ModelReply:
        if not isinstance(answer, AIMessage):
            raise TransientModelError(f"{self.name}: the answer is no assistant message")
        usage = answer.usage_metadata
        read, wrote = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
        meta = answer.response_metadata
        reason = str(meta.get("finish_reason") or meta.get("stop_reason") or meta.get("done_reason") or "stop")
        if answer.additional_kwargs.get("refusal"):
            reason = "refusal"
        return ModelReply(
            text=str(answer.text),
            finish_reason=reason,
            model=self.name,
            prompt_tokens=read,
            completion_tokens=wrote,
            cost_usd=_price(self.name, self._url, read, wrote),
        )


# A started async generator is closed by its event loop when the loop shuts down (PEP 525): the one hook there is for
# connections that should live as long as their loop. Held here, because the loop itself holds them weakly.
_CLOSING: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncGenerator[None, None]]] = (
    weakref.WeakKeyDictionary()
)


async def _close_with_loop(http: Any) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await http.aclose()


def _payload(request: ModelRequest, output: Output) -> tuple[list[dict[str, str]], dict[str, Any]]:
    messages = [dict(message) for message in request.messages]
    if output == "schema":
        wanted = {"name": request.schema_name, "strict": True, "schema": request.schema}
        return messages, _wire(response_format={"type": "json_schema", "json_schema": wanted})
    # Without a schema on the wire it stands in the words.
    import json

    messages[0]["content"] += (
        f"\nThe reply follows this JSON schema: {json.dumps(request.schema, separators=(',', ':'))}"
    )
    return messages, _wire(response_format={"type": "json_object"}) if output == "object" else {}


def _wire(**fields: Any) -> dict[str, Any]:
    """Fields straight into the request's body.

    Given as an argument, `response_format` makes the client parse the reply itself, raise where it is cut off, and
    rebuild the schema at every call.
    """
    return {"extra_body": fields}


class _FormatRefused(ModelError):
    """A 400 that may be about the way JSON was asked for."""


_CONTEXT = ("context_length", "maximum context", "context window", "too many tokens", "prompt is too long")


def _translated(name: str, error: Exception, *, asked_for_format: bool) -> ModelError | None:
    """The error of a client as one of ours; None where the prompt was too long for the model."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    code = str(getattr(error, "code", "") or "")
    text = f"{name}: {type(error).__name__}: {str(error)[:300]}"
    if not isinstance(status, int) or status < 400:
        return TransientModelError(text)
    lowered = f"{code} {error}".casefold()
    if status in (400, 413, 422) and any(word in lowered for word in _CONTEXT):
        return None
    if status == 429 and code in ("insufficient_quota", "billing_hard_limit_reached"):
        return TerminalModelError(text)
    if status in (408, 409, 425, 429) or status >= 500:
        return TransientModelError(text, retry_after=_retry_after(response))
    if status in (400, 422) and asked_for_format:
        return _FormatRefused(text)
    return TerminalModelError(text)


def _retry_after(response: Any) -> float | None:
    """Seconds, from `retry-after-ms`, or `retry-after` as a number or a date (RFC 9110, 10.2.3)."""
    headers = getattr(response, "headers", None) or {}
    try:
        if headers.get("retry-after-ms"):
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if value.replace(".", "", 1).isdigit():
            return float(value)
        from datetime import UTC, datetime
        from email.utils import parsedate_to_datetime

        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


@lru_cache(maxsize=1024)
def _price(name: str, url: str, read: int, wrote: int) -> float | None:
    """The price in US dollars by genai-prices; None where it is not known."""
    if not read and not wrote:
        return None
    import genai_prices  # half a second to import: only once something was paid for

    provider, _, model = name.partition(":")
    usage = genai_prices.Usage(input_tokens=read, output_tokens=wrote)
    try:
        if not _is_loopback(url):
            return float(genai_prices.calc_price(usage, model, provider_api_url=url).total_price)
    except (LookupError, ValueError):
        pass
    try:
        return float(genai_prices.calc_price(usage, model, provider_id=provider).total_price)
    except (LookupError, ValueError):
        return None
