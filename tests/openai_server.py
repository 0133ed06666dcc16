"""A local HTTP server that speaks the OpenAI protocol, and misbehaves on demand.

    with OpenAIServer([say("hello"), refuse(429, retry_after=0.1), call("search", {"query": "x"})]) as server:
        model = ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key="test")

One thread runs one event loop, so hundreds of slow connections cost no threads and the lists below need no lock: the
loop alone writes them. Standard library only.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from tests.openai_protocol import (
    Call,
    Json,
    Reply,
    call,
    completion,
    completion_events,
    error_body,
    hang,
    objection,
    refuse,
    response,
    response_events,
    say,
)

__all__ = ["Call", "OpenAIServer", "Recorded", "Reply", "Responder", "call", "hang", "refuse", "say"]

Responder = Callable[[Json], Reply | str]

BODIES = {"/v1/chat/completions": (completion, completion_events), "/v1/responses": (response, response_events)}


@dataclass(slots=True)
class Recorded:
    """One request, as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """The JSON value, or None where there was none that parses."""
    at: float
    """time.monotonic() at arrival."""
    reply: Reply | None = None
    """What was (or would have been) answered; None until decided."""
    seconds: float | None = None
    """From arrival until the answer was sent or the client left; None while in flight."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def left(self, seconds: float | None) -> bool:
        """Wait; True as soon as the client is gone. A client that waits for its answer sends nothing meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return False

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@dataclass
class OpenAIServer:
    """Serve `responder` on a free port of 127.0.0.1 from `with` until the end of its block.

    `responder` is a function of the request's JSON (called on the server's thread: it must not block, and
    `delay_seconds` is how an answer takes its time), or a script: replies given in order. A function that raises, and a
    request beyond the end of a script, are answered 400 (a client retries no 400), and raised when the block ends. With
    `api_key`, any other key is answered 401. `strict=False` accepts requests that a real endpoint would refuse.
    """

    responder: Responder | Iterable[Reply | str]
    api_key: str | None = None
    strict: bool = True
    requests: list[Recorded] = field(default_factory=list, init=False)
    in_flight: int = field(default=0, init=False)
    max_in_flight: int = field(default=0, init=False)
    connections: int = field(default=0, init=False)
    """How many were opened, in all."""
    port: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._next = self.responder if callable(self.responder) else _script(self.responder)
        self._errors: list[Exception] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="openai-server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point an OpenAI client in another process here."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key or "test-key"}

    @property
    def bodies(self) -> list[Any]:
        """The JSON of every request that reached an endpoint of a model, in order of arrival."""
        return [request.body for request in self.requests if request.path in BODIES]

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the test server did not start within 10 seconds")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        # A failing test has its own message; one that passes although its responder broke must not.
        if kind is None and self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Close every connection, hanging ones too. May be called inside the block, and twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine on purpose: asyncio logs a traceback for each of its own connection tasks that is cancelled.
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._converse(_Connection(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, connection: _Connection) -> None:
        try:
            while await self._exchange(connection):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, which is its right
        finally:
            connection.writer.close()

    async def _exchange(self, connection: _Connection) -> bool:
        """Answer one request; whether the connection stays open."""
        request = await self._receive(connection.reader)
        self.requests.append(request)
        number = len(self.requests)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            request.reply = reply = self._decide(request)
            if reply.fault == "hang":
                await connection.left(None)
                return False
            if reply.delay_seconds and await connection.left(reply.delay_seconds):
                return False
            while reply.after is not None and not reply.after():
                if await connection.left(0.02):
                    return False
            if reply.fault == "drop":
                return False
            if reply.status == 200 and request.body and request.body.get("stream"):
                return await self._stream(connection, request, reply, number)
            return await self._answer(connection, request, reply, number)
        finally:
            self.in_flight -= 1
            request.seconds = time.monotonic() - request.at

    async def _receive(self, reader: asyncio.StreamReader) -> Recorded:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        return Recorded(method, path.partition("?")[0], headers, body, time.monotonic())

    def _decide(self, request: Recorded) -> Reply:
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refuse(401, "Incorrect API key provided.")
        if (request.method, request.path) == ("GET", "/v1/models"):
            return Reply(text="")
        if request.method != "POST" or request.path not in BODIES:
            return refuse(404, f"Invalid URL ({request.method} {request.path})")
        if not isinstance(request.body, dict):
            return refuse(400, "We could not parse the JSON body of your request.")
        if self.strict and (why := objection(request.path, request.body)):
            return refuse(400, why)
        try:
            reply = self._next(request.body)
        except Exception as error:
            self._errors.append(error)
            return refuse(400, f"the responder failed: {error!r}")
        return say(reply) if isinstance(reply, str) else reply

    async def _answer(self, connection: _Connection, request: Recorded, reply: Reply, number: int) -> bool:
        if reply.status != 200:
            content = error_body(reply)
        elif request.path in BODIES:
            content = BODIES[request.path][0](reply, request.body, number)
        else:
            content = {"object": "list", "data": []}
        body = json.dumps(content).encode()
        if reply.fault == "truncate":
            body = body[: len(body) // 2]
        elif reply.fault == "malformed":
            body = b"<html><body>502 Bad Gateway</body></html>"
        head = _head(reply, number, f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        if reply.fault == "cut":
            await connection.send(head + body[: len(body) // 2])
            return False
        await connection.send(head + body)
        return True

    async def _stream(self, connection: _Connection, request: Recorded, reply: Reply, number: int) -> bool:
        events = list(BODIES[request.path][1](reply, request.body, number))
        middle = len(events) // 2
        if reply.fault == "cut":
            del events[middle:]
        elif reply.fault == "truncate":
            events[-2] = events[-2][: len(events[-2]) // 2] + "\n\n"
        elif reply.fault == "malformed":
            events[middle] = "data: <html>\n\n"
        await connection.send(_head(reply, number, "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"))
        for event in events:
            if reply.event_delay_seconds and await connection.left(reply.event_delay_seconds):
                return False
            data = event.encode()
            await connection.send(b"%x\r\n%s\r\n" % (len(data), data))
        if reply.fault == "cut":
            return False
        await connection.send(b"0\r\n\r\n")
        return True


def _head(reply: Reply, number: int, content: str) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"x-request-id: req_{number}", content]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _script(replies: Iterable[Reply | str]) -> Responder:
    waiting: Iterator[Reply | str] = iter(replies)

    def next_reply(request: Json) -> Reply | str:
        for reply in waiting:
            return reply
        raise AssertionError(f"the script has no reply left for this request: {json.dumps(request)[:500]}")

    return next_reply
