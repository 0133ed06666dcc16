"""HTTP connections for many requests at once, handed out in constant time.

The client's own pool looks at every connection it has before and after each request: at 256 at once that is half of
what a call costs in CPU. Here each connection is a pool of one, and the one that was given back last goes out first.
"""

from __future__ import annotations

import importlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import getproxies

import openai

__all__ = ["Response", "http_client"]

# The client library that this version of the SDK is made with (httpx, or its successor of the same form).
_http: Any = importlib.import_module(openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])
Response: Any = _http.Response
"""The class of the client's answers."""
_IDLE_SECONDS = 30.0  # a connection that nobody used for so long is closed


def http_client(*, timeout: float, verify: Any) -> Any:
    """An asynchronous HTTP client for the SDK: as many connections as requests are under way, kept for the next ones.

    Behind a proxy of the environment's the library's own pool is used, which knows about proxies.
    """
    if getproxies():
        limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=1024, max_keepalive_connections=1024)
        return openai.DefaultAsyncHttpxClient(timeout=timeout, verify=verify, limits=limits)
    return openai.DefaultAsyncHttpxClient(timeout=timeout, transport=_Connections(verify))


class _Connections(_http.AsyncBaseTransport):  # type: ignore[misc]  # whichever library it is
    """Connections, each in a pool of its own. Belongs to one event loop, like the client."""

    def __init__(self, verify: Any) -> None:
        self._verify = verify
        self._idle: deque[tuple[Any, float]] = deque()  # with the moment each was given back, oldest first

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; the connection comes back when its answer was read or given up."""
        one = self._idle.pop()[0] if self._idle else self._fresh()
        try:
            response = await one.handle_async_request(request)
        except BaseException:
            await self._back(one)  # its pool has dropped a connection that broke, and opens another one
            raise
        response.stream = _Answer(self, one, response.stream)
        return response

    async def aclose(self) -> None:
        """Close all that wait."""
        while self._idle:
            await self._idle.pop()[0].aclose()

    def _fresh(self) -> Any:
        single = _http.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_SECONDS)
        return _http.AsyncHTTPTransport(verify=self._verify, limits=single)

    async def _back(self, one: Any) -> None:
        now = time.monotonic()
        self._idle.append((one, now))
        if now - self._idle[0][1] > _IDLE_SECONDS:  # one at a time is enough: there are as many returns as uses
            await self._idle.popleft()[0].aclose()


class _Answer(_http.AsyncByteStream):  # type: ignore[misc]
    """The body of an answer; closing it gives the connection back."""

    def __init__(self, home: _Connections, one: Any, body: Any) -> None:
        self._home, self._one, self._body = home, one, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        """Close the body, and give the connection back once."""
        one, self._one = self._one, None
        try:
            await self._body.aclose()
        finally:
            if one is not None:
                await self._home._back(one)
