"""Replies of chat models: on disk before anybody parses them, found again by content, never paid for twice.

A file per process that asks, in the journal's framing; one write(2) per reply. The same question to the same model is
answered from disk, in this process or any later one; two that ask it at once share one call. Around it stand the caps
on spend and the one layer of retries.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agenther_live.errors import HomeError, TerminalModelError, TransientModelError
from agenther_live.home import Home
from agenther_live.journal.framing import decode_line, encode_line, scan
from agenther_live.journal.places import Places
from agenther_live.limits import Breaker, Budget, Pace
from agenther_live.relabel.models import ChatModel, ModelReply, ModelRequest, also_about

__all__ = ["Budget", "CallRow", "RememberedModel", "Replies", "about", "marker_key"]

about: ContextVar[str | None] = ContextVar("about", default=None)
"""The trajectory that models are asked about now, so that a deletion finds what they replied."""

_STORED = ".stored.jsonl"
_ROWS = 2000
_ANSWER_TOKENS = 500  # a guess at the longest usual reply
_GRACE_SECONDS = 0.8  # whoever is told to stop waits so long for replies that are being paid for, and no longer


@dataclass(frozen=True, slots=True)
class CallRow:
    """One paid call, as the buffer keeps it. `at` is naive UTC; `cost_usd` None where the price is unknown.

    `trajectory_id` is the one that it was first asked about.
    """

    call_key: str
    purpose: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    status: str
    at: datetime
    text: str
    trajectory_id: str | None = None


def marker_key(folder: Path) -> bytes:
    """The secret of this home from which prompt markers are made; created once, mode 0600.

    Raises:
        HomeError: it cannot be read or created.
    """
    path = folder / "marker.key"
    try:
        key = Home(folder).key(path, lambda: secrets.token_bytes(32))
    except OSError as error:
        raise HomeError(f"the marker key {path} cannot be used: {error.strerror or error}") from None
    if len(key) < 16:
        raise HomeError(f"the marker key {path} is damaged: remove it, and another is made")
    return key


class Replies:
    """The store of replies in one folder. Used by the one worker of a home; not thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        spend_per_day_usd: float = 5.0,
        tokens_per_day: int = 5_000_000,
        spend_per_hour_usd: float | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the store and read what it holds; damaged lines are passed over.

        Args:
            folder: where the files lie, made with mode 0700 if missing.
            spend_per_day_usd: cap on the calls of a UTC day whose price is known.
            tokens_per_day: cap on the tokens of all calls of a UTC day.
            spend_per_hour_usd: cap on those of an hour (by the clock); None sets none.
            requests_per_minute: pace of the requests to each endpoint; None sets none.
            tokens_per_minute: pace of the prompt tokens sent to each endpoint, by estimate; None sets none.
            clock: epoch seconds.

        Raises:
            HomeError: the folder cannot be made or read.
        """
        self.folder = folder
        self.budget = Budget(usd=spend_per_day_usd, tokens=tokens_per_day, usd_per_hour=spend_per_hour_usd, clock=clock)
        self._per_minute = requests_per_minute, tokens_per_minute
        self._guards: dict[str, tuple[Breaker, Pace, Pace]] = {}
        self._clock = clock
        self._index = Places()
        self._files: list[Path] = []  # by the numbers that the index has for them
        self._waiting: list[CallRow] = []
        self._old: list[Path] = []
        self._in_flight: dict[str, asyncio.Task[ModelReply]] = {}
        self._descriptor: int | None = None
        self._number = -1
        self._size = 0
        self._path = self._fresh_path()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.jsonl")):
                self._read(path)
        except OSError as error:
            raise HomeError(f"the store of replies {folder} cannot be read: {error.strerror or error}") from None

    def _fresh_path(self) -> Path:
        """Name the next file; it sorts by when it was begun."""
        stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%dT%H%M%S")
        return self.folder / f"{stamp}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"

    def _read(self, path: Path, *, spent: bool = True) -> None:
        data = path.read_bytes()
        fresh = not path.name.endswith(_STORED)
        self._files.append(path)
        for start, _, record in scan(data):
            if record is None or record.get("k") != "reply":
                continue
            self._index.put(bytes.fromhex(record["key"]), len(self._files) - 1, start)
            if spent:
                tokens = record["prompt_tokens"] + record["completion_tokens"]
                self.budget.spent(tokens, record["cost_usd"], record["at"])
            if fresh:
                self._waiting.append(_row(record))
        if fresh:
            self._old.append(path)

    def __len__(self) -> int:
        """How many replies are kept."""
        return len(self._index)

    def find(self, call_key: str) -> ModelReply | None:
        """Give a stored reply, or None."""
        place = self._index.get(bytes.fromhex(call_key))
        if place is None:
            return None
        number, start = place
        try:
            with self._files[number].open("rb") as file:
                file.seek(start)
                record = decode_line(file.readline().rstrip(b"\n"))
        except OSError:
            record = None
        if record is None or record["key"] != call_key:
            return None
        return ModelReply(
            text=record["text"],
            finish_reason=record["finish_reason"],
            model=record["model"],
            prompt_tokens=record["prompt_tokens"],
            completion_tokens=record["completion_tokens"],
            cost_usd=record["cost_usd"],
            stored=True,
        )

    def keep(self, call_key: str, request: ModelRequest, model: str, reply: ModelReply) -> None:
        """Append a reply; it is in the file when this returns.

        Raises:
            HomeError: the file cannot be written. The reply is then lost to disk, but not to its caller's budget.
        """
        now = self._clock()
        record = {
            "k": "reply",
            "key": call_key,
            "purpose": request.purpose,
            "model": model,
            "prompt_version": request.prompt_version,
            "text": reply.text,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "cost_usd": reply.cost_usd,
            "at": now,
            "about": about.get(),
        }
        if also := also_about.get():
            record["also"] = list(also)
        self.budget.spent(reply.prompt_tokens + reply.completion_tokens, reply.cost_usd, now)
        line = encode_line(record)
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._files.append(self._path)
                self._number = len(self._files) - 1
            written = os.write(self._descriptor, line)
            if written < len(line):
                os.ftruncate(self._descriptor, self._size)
                raise OSError(28, "no space left on device")
        except OSError as error:
            raise HomeError(f"replies cannot be kept in {self._path}: {error.strerror or error}") from None
        self._index.put(bytes.fromhex(call_key), self._number, self._size)
        self._size += len(line)
        self._waiting.append(_row(record))

    def rows(self) -> list[CallRow]:
        """Up to 2,000 calls that the buffer has not confirmed yet, oldest first."""
        return self._waiting[:_ROWS]

    def confirm(self, rows: Sequence[CallRow]) -> None:
        """Say that the buffer holds these rows (the first ones that `rows` gave); they are not given again."""
        del self._waiting[: len(rows)]
        if not self._waiting:
            for path in self._old:
                kept = path.with_name(path.name.removesuffix(".jsonl") + _STORED)
                path.rename(kept)
                self._files = [kept if each == path else each for each in self._files]
            self._old.clear()

    def forget_before(self, moment: datetime) -> int:
        """Delete the confirmed files that were begun before this naive UTC time; gives how many.

        The file that is written now is ended at the end of its day, so that it can go in its turn.
        """
        if self._path.name[:8] < self._fresh_path().name[:8]:
            self.close()
            self._path = self._fresh_path()
            self.confirm([])
        stamp = moment.strftime("%Y%m%dT%H%M%S")
        gone = [path for path in self.folder.glob(f"*{_STORED}") if path.name < stamp]
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            self._index.drop({number for number, path in enumerate(self._files) if path in gone})
        return len(gone)

    def erase(self, trajectory_ids: Collection[str], mark: Callable[[str], str]) -> int:
        """Take out of every file what was replied about these trajectories; gives how many replies that were.

        What they cost stays, under `mark(call_key)`. Lines that cannot be read go from the files that are rewritten.

        Raises:
            HomeError: a file cannot be read or written; the others may be done already, and a second try goes on.
        """
        self.close()
        gone = 0
        try:
            for path in sorted(self.folder.glob("*.jsonl")):
                gone += _without(path, trajectory_ids, mark)
            self._index, self._files = Places(), []
            self._waiting.clear()
            self._old.clear()
            for path in sorted(self.folder.glob("*.jsonl")):
                self._read(path, spent=False)
        except OSError as error:
            raise HomeError(f"replies in {self.folder} cannot be rewritten: {error.strerror or error}") from None
        return gone

    def remembered(self, model: ChatModel, *, retries: int = 2) -> RememberedModel:
        """The model behind this store: the same in use, with nothing paid for twice."""
        return RememberedModel(model, self, retries=retries)

    def guards(self, endpoint: str) -> tuple[Breaker, Pace, Pace]:
        """The breaker of an endpoint, and the paces of requests and of tokens: one of each for all models there."""
        if endpoint not in self._guards:
            requests, tokens = self._per_minute
            self._guards[endpoint] = Breaker(endpoint), Pace(requests), Pace(tokens)
        return self._guards[endpoint]

    async def settle(self) -> None:
        """Wait a moment for calls in flight: what is being paid for is kept, where it comes soon enough."""
        if self._in_flight:
            await asyncio.wait(list(self._in_flight.values()), timeout=_GRACE_SECONDS)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._size = 0
            self._old.append(self._path)
            self._path = self._fresh_path()


class RememberedModel:
    """A chat model whose every reply is kept before it is handed out."""

    def __init__(self, model: ChatModel, replies: Replies, *, retries: int) -> None:
        """Stand before `model`. A transient failure is tried again `retries` times, then given to the caller."""
        self.model = model
        self._replies = replies
        self._retries = retries
        self._identity = str(getattr(model, "identity", model.name))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost in US dollars; None where the model does not know."""
        found = getattr(self.model, "price", None)
        return found(prompt_tokens, completion_tokens) if found else None

    @property
    def identity(self) -> str:
        """The model and where it is asked."""
        return self._identity

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Give the stored reply, or ask, keep and give."""
        call_key = hashlib.sha256(f"{self._identity}\x1f{request.key}".encode()).hexdigest()
        stored = self._replies.find(call_key)
        if stored is not None:
            return stored
        # The call lives in a task of its own: whoever waits may be cancelled, the reply is paid for and will be kept.
        task = self._replies._in_flight.get(call_key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(self._pay(call_key, request))
            self._replies._in_flight[call_key] = task
            task.add_done_callback(lambda done: self._landed(call_key, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                await asyncio.wait([task], timeout=_GRACE_SECONDS)
            raise

    def _landed(self, call_key: str, task: asyncio.Task[ModelReply]) -> None:
        if self._replies._in_flight.get(call_key) is task:
            del self._replies._in_flight[call_key]
        if not task.cancelled():
            task.exception()  # seen, so that a caller who left does not leave a warning behind

    async def _pay(self, call_key: str, request: ModelRequest) -> ModelReply:
        budget = self._replies.budget
        breaker, requests, tokens = self._replies.guards(self._identity.rpartition("@")[2] or self._identity)
        asked = sum(len(message["content"]) for message in request.messages) // 4
        estimate = asked + _ANSWER_TOKENS
        for attempt in range(self._retries + 1):
            breaker.enter()
            answered = False
            try:
                # Held while it waits in line: what waits will be spent.
                # To the next 256: looking prices up costs as much as the rest of this.
                held = budget.hold(estimate, self.price(asked + -asked % 256, _ANSWER_TOKENS))
                try:
                    await asyncio.sleep(max(requests.reserve(), tokens.reserve(estimate)))
                    reply = await self.model.complete(request)
                    answered = True
                    self._replies.keep(call_key, request, self.model.name, reply)
                    return reply
                finally:
                    budget.release(estimate, held)
            except TransientModelError as error:
                breaker.failed(error.retry_after)
                wait = error.retry_after if error.retry_after is not None else 0.5 * 2**attempt
                if attempt == self._retries or wait > 20:
                    raise
            except TerminalModelError:
                answered = True
                raise
            finally:
                breaker.worked() if answered else breaker.gave_up()
            await asyncio.sleep(wait * random.uniform(1.0, 1.2))
        raise AssertionError("unreachable")


def _without(path: Path, trajectory_ids: Collection[str], mark: Callable[[str], str]) -> int:
    """Rewrite one file of replies, whole or not at all, if it holds anything about these trajectories."""
    records = [record for _, _, record in scan(path.read_bytes())]
    hit = [record for record in records if record is not None and record.get("about") in trajectory_ids]
    quoting = [
        record
        for record in records
        if record is not None and not set(record.get("also", ())).isdisjoint(trajectory_ids) and record not in hit
    ]
    if not hit and not quoting:
        return 0
    for record in hit:
        record |= {"key": mark(record["key"]), "text": "", "finish_reason": "deleted", "about": None}
    for record in quoting:  # about a run that stays, and under its key: the words go
        record |= {"text": "", "finish_reason": "deleted"}
    for record in (*hit, *quoting):
        record.pop("also", None)
    draft = path.with_name(f".{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.writelines(encode_line(record) for record in records if record is not None)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return len(hit) + len(quoting)


def _row(record: dict[str, Any]) -> CallRow:
    return CallRow(
        call_key=record["key"],
        purpose=record["purpose"],
        model=record["model"],
        prompt_tokens=record["prompt_tokens"],
        completion_tokens=record["completion_tokens"],
        cost_usd=record["cost_usd"],
        status=record["finish_reason"],
        at=datetime(1970, 1, 1) + timedelta(seconds=record["at"]),  # noqa: DTZ001  naive UTC, as everywhere
        text="" if record.get("also") else record["text"],  # the buffer knows one owner: the file alone keeps these
        trajectory_id=record.get("about"),
    )
