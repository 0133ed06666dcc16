"""`Live`, the one object a user holds: attach, feedback, start, and everything put together."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from agenther_live.clock import utcnow
from agenther_live.errors import HomeError, SettingsError, UsageError, WorkerRunning
from agenther_live.evaluate import Evaluator, evaluator, told_apart
from agenther_live.facts import current_trajectory
from agenther_live.home import Home
from agenther_live.ids import bounded_id, uuid7
from agenther_live.journal import Writer
from agenther_live.redact import Redactor, load_key
from agenther_live.settings import Settings, load_settings
from agenther_live.trajectory import EvidenceSource

# Capture and the worker's parts are imported where they are used: an agent's process does not pay for the worker, nor a
# worker or `status` for LangGraph.
if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler
    from langchain_core.callbacks import BaseCallbackHandler

    from agenther_live import scheduler
    from agenther_live.buffer.store import Buffer
    from agenther_live.erase import Place, Receipt
    from agenther_live.integrations import transcripts
    from agenther_live.integrations.langgraph import Capture, TrajectoryRecorder
    from agenther_live.relabel.judges.probe import Finding
    from agenther_live.retraction import Retracted
    from agenther_live.settings import ShardFormat
    from agenther_live.shards.checks.check import CheckReport
    from agenther_live.shards.reading.follow import ShardStream

__all__ = ["Live", "TrajectoryHandle"]

logger = logging.getLogger("agenther_live")
GraphT = TypeVar("GraphT")


class Live:
    """Attach to running LangGraph agents, keep what they do, and turn their failures into training data.

    Args:
        home: directory that holds everything (default `./agenther`, or AGENTHER_HOME).
        relabeler: 'template', a chat model such as 'openai:gpt-4o-mini' or an object; None captures and
            analyses only.
        judges: the panel: 'rules', chat models, or objects. An empty panel accepts nothing.
        evaluators: functions that judge trajectories in the worker; see `agenther_live.evaluate`.
        redact: a function `str -> str` of the user's own, called with each text before the built-in redaction.
        read_only: only look, into a home that is there and need not be writable: nothing is captured, and no worker
            runs. A buffer that can be written is still brought to this version's schema.
        settings: any other setting by name; see `agenther_live.settings.Settings`.

    Raises:
        SettingsError: naming the wrong setting, its value and what is allowed.
        NoHome: `read_only`, and there is none.
        HomeError: the home cannot be written, and `strict` is set.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        relabeler: Any = None,
        judges: Sequence[Any] | None = None,
        evaluators: Sequence[Callable[..., Any]] = (),
        redact: Callable[[str], str] | None = None,
        read_only: bool = False,
        **settings: Any,
    ) -> None:
        """Read the settings and make the home; no thread is started and no database opened."""
        panel = None if judges is None else _panel(judges)
        named = [judge for judge in panel or () if isinstance(judge, str)]
        self.settings: Settings = load_settings(
            home=home,
            relabeler=relabeler if isinstance(relabeler, str) else None,
            judges=tuple(named) if panel is not None else None,
            **settings,
        )
        self._relabeler = relabeler if relabeler is not None else self.settings.relabeler
        self._judges: tuple[Any, ...] = self.settings.judges if panel is None else panel
        self._hook = redact
        self._evaluators: list[Evaluator] = []  # only ever appended to: the worker walks it in its own thread
        self._attached: dict[str, dict[tuple[str, ...], weakref.WeakSet[Any]]] = {}  # name → evaluators → handlers
        self._only: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._stopped = False  # `stop` came to its end: whoever works next may begin anew
        self._scheduler: BackgroundScheduler | None = None
        self._resources = contextlib.ExitStack()
        self.home = Home(self.settings.home)
        self._read_only = read_only
        self._made = self._make_home()
        for function in evaluators:
            self._add_evaluator(function, agent=None)
        _lives.add(self)

    # -- capture ---------------------------------------------------------------------------------------

    def attach(
        self,
        agent: GraphT,
        *,
        name: str | None = None,
        policy_version: str | None = None,
        tags: Sequence[str] = (),
        sample_rate: float | None = None,
        evaluators: Sequence[Callable[..., Any]] = (),
        subject_key: str | None = None,
        tenant_key: str | None = None,
        conversational: bool | None = None,
        polarity: Mapping[str, str] | None = None,
    ) -> GraphT:
        """Give back the compiled graph with capture attached; use the returned object.

        Args:
            agent: any compiled LangGraph graph.
            name: the agent's name in the buffer; default the graph's own.
            policy_version: name of the model and prompts that act now.
            tags: kept with every trajectory.
            sample_rate: share of runs that are recorded, in [0, 1].
            evaluators: as in `Live`, for the runs of this attachment only; those of runs whose attachment is not known
                (`callback_handler`, say) are found by the agent's name.
            subject_key: metadata key of the person the run is about; `configurable` does not reach handlers.
            tenant_key: metadata key of the tenant.
            conversational: whether the agent talks with a user and may end a turn without an answer.
            polarity: what signs of a run mean for this agent, such as {"handoff": "success"}; see
                `agenther_live.polarity`.

        Raises:
            GraphError: the object is not a compiled graph.
            SettingsError: an unknown sign or meaning in `polarity`.
        """
        if not self._usable:
            return agent
        from agenther_live.integrations.langgraph import attach

        found = getattr(agent, "name", None)
        called = name or (found if isinstance(found, str) and found != "LangGraph" else "agent")
        if evaluators or polarity:  # for this agent, so it needs a name that no run can change
            name = called
        handler = self._handler(
            name=name,
            policy_version=policy_version,
            tags=tags,
            sample_rate=sample_rate,
            subject_key=subject_key,
            tenant_key=tenant_key,
            conversational=conversational,
        )
        attached = attach(agent, handler)
        self._bind(handler, called, tuple(self._add_evaluator(function, agent=name) for function in evaluators))
        if polarity and name is not None:
            self._declare(name, polarity)
        return attached

    @cached_property
    def callback_handler(self) -> BaseCallbackHandler:
        """A handler for `config={"callbacks": [live.callback_handler]}`, where `attach` does not fit."""
        if self._usable:
            return self._handler()
        from langchain_core.callbacks import BaseCallbackHandler

        return BaseCallbackHandler()

    def instrument(self) -> None:
        """Capture every graph that this process runs from now on, in raw threads too. Cannot be undone."""
        if self._usable:
            from agenther_live.integrations.langgraph import instrument

            instrument(self._handler(hook=True))

    @contextlib.contextmanager
    def trajectory(self, goal: str | None = None) -> Iterator[TrajectoryHandle]:
        """Make all runs inside the block one trajectory, with `goal` as its goal if given."""
        handle = TrajectoryHandle(self, uuid7())
        token = current_trajectory.set((handle.trajectory_id, goal))
        try:
            yield handle
        finally:
            # A generator that is closed elsewhere than it was begun (a stream that a client left, a dependency of a
            # web framework) ends in another context, where nothing was set.
            with contextlib.suppress(ValueError):
                current_trajectory.reset(token)

    def feedback(
        self,
        *,
        trajectory_id: str | None = None,
        run_id: str | None = None,
        thread_id: str | None = None,
        success: bool | None = None,
        reason: str | None = None,
        key: str = "success",
        score: float | None = None,
        value: Any = None,
        comment: str | None = None,
        source: EvidenceSource = "person",
    ) -> str:
        """Say how a run went: before, during or long after it, from any process. Gives the feedback's id.

        By `thread_id` it is about the latest trajectory of that thread that began before now.

        Raises:
            UsageError: not exactly one of the three ids is given, nothing is said about the run, or `success`, `score`
                or `source` is none.
        """
        ids = {"trajectory_id": trajectory_id, "run_id": run_id, "thread_id": thread_id}
        target = {name: bounded_id(str(given)) for name, given in ids.items() if given is not None}
        if len(target) != 1:
            raise UsageError("feedback needs exactly one of trajectory_id, run_id, thread_id")
        if success is None and score is None and value is None:
            raise UsageError("feedback needs success, score or value")
        if success is not None and success not in (True, False):
            raise UsageError(f"success = {success!r}: True or False; a figure is a score")
        if score is not None and not _finite(score):
            raise UsageError(f"score = {score!r}: a finite number")
        if source not in get_args(EvidenceSource):  # a person's word beats every other, so no slip may pass for one
            raise UsageError(f"source = {source!r}: one of {', '.join(get_args(EvidenceSource))}")
        feedback_id, at = uuid7(), time.time()
        if thread_id is not None and "_capture" in self.__dict__:
            at = self._capture.not_before(target["thread_id"], at)
        record = {
            "k": "feedback",
            "at": at,
            "feedback_id": feedback_id,
            **target,
            "source": source,
            "key": key,
            "success": None if success is None else bool(success),
            "score": None if score is None else float(score),
            "value": None if value is None else str(value),
            "comment": comment if comment is not None else reason,
        }
        if self._writer is not None:
            # What capture redacts, and no more: kinds and ids hold the facts together, whatever a hook makes of them.
            said = [name for name in ("thread_id", "value", "comment") if record.get(name) is not None]
            clean = self._redactor.value([record[name] for name in said])
            self._writer.append([record | dict(zip(said, clean, strict=True))])
        return feedback_id

    # -- work ------------------------------------------------------------------------------------------

    @cached_property
    def buffer(self) -> Buffer:
        """The replay buffer; its file is open only while a call runs."""
        from agenther_live.buffer.store import Buffer

        if not self._read_only:
            self.home.create()
        return Buffer(self.settings.buffer or self.home.database, settings=self.settings)

    @cached_property
    def parts(self) -> scheduler.Parts:
        """What this home's worker works with.

        Raises:
            SettingsError: a model string is unknown, a key is missing, or `pii` is not decided.
        """
        from agenther_live.compose import build_parts
        from agenther_live.fleet import parts_of

        self._may_write()
        return build_parts(
            settings=self.settings,
            home=self.home,
            buffer=self.buffer,
            relabeler=self._relabeler,
            judges=self._judges,
            evaluators=self._evaluators,
            stop=self._stop,
            only=parts_of(self._only),
        )

    def check_models(self) -> list[Finding]:
        """Ask each chat model that is set whether it takes the key, answers in JSON, and bears a prompt of full length.

        Two calls a model, which count as spend. What an endpoint says is in the findings, not raised.

        Raises:
            SettingsError: a model string is unknown, a key is missing, or `pii` is not decided.
        """
        from agenther_live.compose import check_models

        return check_models(self.parts)

    def start(self) -> bool:
        """Start the worker in a thread of this process; False where another worker holds the home.

        Call it after a fork, in the process that is to work: a forked child has no worker.

        Raises:
            SettingsError: a model string is unknown, a key is missing, or `pii` is not decided.
        """
        if self._scheduler is not None:
            return True
        if not self._usable:
            return False
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.home.held_by_worker())
            except WorkerRunning as error:
                logger.info("%s; this one stays passive", error)
                return False  # before the parts are made: of many processes only the one that works loads a database
            from agenther_live import scheduler

            parts = self.parts
            self._begin_anew()
            self._scheduler = scheduler.schedule(parts)
            self._resources.push(held.pop_all())
        return True

    def work(self, *, only: Sequence[str] = ()) -> None:
        """Be the worker, in the foreground, until `request_stop`.

        Args:
            only: the parts of the work to do, of 'ingest', 'relabel' and 'emit'; none named are all. One that only
                ingests reads the journal to its end before it returns.

        Raises:
            UsageError: there is no such part.
            WorkerRunning: another worker holds the home.
            HomeError: the home cannot be written.
        """
        from agenther_live import scheduler
        from agenther_live.fleet import drain

        if not self.settings.enabled:
            logger.info("enabled = false: nothing is done on %s", self.home.path)
            self._stop.wait()
            return
        if only:
            self._only = tuple(only)
            self.__dict__.pop("parts", None)
        parts = self.parts
        with self._as_worker():
            background = scheduler.schedule(parts)
            logger.info("worker on %s%s", self.home.path, f", {' and '.join(sorted(parts.only))} only" * bool(only))
            while not self._stop.wait(1.0):  # a signal that meets another thread is handled when this one wakes up
                pass
            background.shutdown(wait=True)
            if parts.only == {"ingest"}:
                logger.info("drained: %d runs", drain(parts.buffer, self.home, seconds=self.settings.drain_seconds))
            logger.info("worker stopped")

    def request_stop(self) -> None:
        """Ask the work that runs to end at its next safe point; may be called from a signal handler."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the work was asked to end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop the worker: the tick that runs ends at its next safe point, and nothing is lost."""
        self._stop.set()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None
        self._resources.close()
        self._stopped = True

    def tick(self, *, immediate: bool = False) -> scheduler.TickReport:
        """Do one tick of the worker's work now.

        Raises:
            WorkerRunning: another worker holds the home.
        """
        from agenther_live import scheduler

        if not self._usable:
            return scheduler.TickReport()
        with self._as_worker():
            return scheduler.tick(self.parts, immediate=immediate)

    def run_until_idle(self, *, progress: Callable[[scheduler.TickReport], None] | None = None) -> scheduler.TickReport:
        """Work until nothing is left to do: every ended run is ingested, judged, relabeled and published.

        Waits neither for people to disagree with a failure nor for retries that are due later.

        Raises:
            WorkerRunning: another worker holds the home.
        """
        from agenther_live import scheduler

        if not self._usable:
            return scheduler.TickReport()
        with self._as_worker():
            return scheduler.run_until_idle(self.parts, progress=progress)

    def migrate(self, to: str, *, progress: Callable[[str], None] | None = None) -> tuple[dict[str, int], str]:
        """Copy the home's DuckDB buffer into an empty PostgreSQL database; gives rows by table, and where they are.

        Raises:
            UsageError: the target is not empty, or the engines are not these two.
            WorkerRunning: a worker holds the home.
            BufferError: the database refuses; nothing was copied.
        """
        from agenther_live.buffer.engines.migrate import migrate
        from agenther_live.buffer.store import Buffer

        target = Buffer(to, settings=self.settings)
        if self._scheduler is not None:  # it would go on in the old buffer behind the copy
            raise WorkerRunning(f"the worker of home {self.home.path} runs in this process: call stop() first")
        with self._as_worker():
            return migrate(self.buffer, target, progress=progress), target.where

    def import_transcripts(
        self, path: str | Path, *, progress: Callable[[int], None] | None = None
    ) -> transcripts.ImportReport:
        """Read trajectories of other logs (JSON lines, also .gz) into the buffer; importing twice changes nothing.

        What cannot be read is named in the report with file, line and reason, and the rest goes on.
        """
        from agenther_live.integrations import transcripts

        self._may_write()
        self.home.create()
        return transcripts.import_file(Path(path), self.buffer, redactor=self._redactor, progress=progress)

    def stream(self, fmt: ShardFormat, *, consumer: str, **options: Any) -> ShardStream:
        """Give the published rows of a format to a trainer, each once; `options` are those of `ShardStream`.

        Read from the setting `shards` where it names an object store, else from the home.

        Raises:
            UsageError: an argument has a value that is not allowed.
        """
        from agenther_live.shards.reading.follow import ShardStream

        return ShardStream(self.settings.shards or self.home.shards, fmt, consumer=consumer, **options)

    def published_version(self, consumer: str) -> str | None:
        """Give the policy version of a trainer's last committed checkpoint, to say in `attach` which policy acts."""
        from agenther_live.shards.reading.policy import published_version

        return published_version(self.settings.shards or self.home.shards, consumer)

    def status(self) -> dict[str, Any]:
        """Give the figures of `agenther-live status`: funnel, drops, lag, last tick, spend."""
        from agenther_live import scheduler

        with self.buffer.hold():
            return scheduler.status(self.home, self.buffer)

    def retract(self, *, where: str, reason: str, dry_run: bool = False) -> Retracted:
        """Take back the samples that an SQL condition over samples and trajectories chooses, and pairs made of them.

        Shards that hold some are replaced at once, or by the worker that runs elsewhere at its next tick; what no
        shard holds never gets there. The result says who had read them.

        Raises:
            QueryError: the condition is no SQL over the columns of `samples` and `trajectories`.
        """
        from agenther_live.retraction import retract

        return retract(
            self.buffer,
            self.home.shards,
            where=where,
            reason=reason,
            dry_run=dry_run,
            now=utcnow(),
            as_worker=self._between_ticks,
        )

    def delete(
        self,
        *,
        trajectory_id: str | None = None,
        thread_id: str | None = None,
        subject: str | None = None,
        reason: str = "",
        dry_run: bool = False,
        compact: bool = True,
        seconds: float = 60.0,
    ) -> Receipt:
        """Delete a trajectory, a thread or a person's data everywhere in this home, and refuse it from now on.

        Where another process is the worker, it does so between two ticks, and this waits for at most `seconds`.
        `compact` gives the room in the buffer's file back, and with it the deleted bytes. See docs/upkeep.md.

        Raises:
            UsageError: not exactly one of the three is given.
            AgentHERError: a step failed; what was begun is finished by the worker or by `doctor --repair`.
        """
        from agenther_live import erase, requests

        given = {"trajectory": trajectory_id, "thread": thread_id, "subject": subject}
        target = erase.Target.of(given, self._redacted)
        if dry_run:
            return erase.delete(self._place(), target, reason=reason, now=utcnow(), dry_run=True)
        if "_writer" in self.__dict__ and self._writer is not None:
            self._writer.close()  # what this process holds back is taken in first, and its segment can go
        try:
            with self._between_ticks(), erase.alone(place := self._place(), seconds=seconds):
                return erase.delete(place, target, reason=reason, now=utcnow(), shrunk=compact)
        except WorkerRunning:
            return erase.Receipt(**requests.ask(self.home, target.request(reason, compact), seconds=seconds))

    def lift_deletion(
        self,
        *,
        trajectory_id: str | None = None,
        thread_id: str | None = None,
        subject: str | None = None,
        reason: str = "",
    ) -> int:
        """Take in what is new of something that was deleted again; what went stays gone. Gives how many were lifted.

        Raises:
            UsageError: not exactly one of the three is given.
        """
        from agenther_live import erase

        given = {"trajectory": trajectory_id, "thread": thread_id, "subject": subject}
        target = erase.Target.of(given, self._redacted)
        return erase.lift(self.buffer, target, reason=reason, now=utcnow())

    def compact(self, *, seconds: float = 600.0) -> tuple[int, int]:
        """Write the buffer's file anew without the room of deleted rows; gives its size before and after.

        Raises:
            UsageError: the buffer is no DuckDB file.
            BufferError: there is no room for the copy, or it failed; the old file stays.
        """
        from agenther_live import erase, requests

        try:
            with self._between_ticks():
                return erase.shrink(self.buffer, now=utcnow())
        except WorkerRunning:
            told = requests.ask(self.home, {"do": "compact"}, seconds=seconds)
            return told["before"], told["after"]

    def check_shards(self, folder: str | Path | None = None, *, tokenizer: str | None = None) -> CheckReport:
        """Check every row of every published shard, of this home's by default.

        With `tokenizer`, a folder or the name of a Hugging Face model, rows must render with its chat template too.

        Raises:
            UsageError: the folder is none of shards; the tokenizer cannot be loaded, or transformers is not installed.
        """
        from agenther_live.shards.checks.check import check, check_folder
        from agenther_live.shards.files.heldout import HeldOut

        render = None
        if tokenizer is not None:
            from agenther_live.shards.checks.templates import renderer

            render = renderer(tokenizer)
        if folder is not None:
            return check_folder(Path(folder), render=render)
        goals, trajectories = self.buffer.held_out()
        held_out = HeldOut(goals, share=0.0, trajectories=trajectories)
        return check(self.home.shards, held_out=held_out, render=render)

    def check_evaluators(self) -> None:
        """Refuse to work for agents whose evaluators are not loaded here.

        Raises:
            SettingsError: naming the missing ones.
        """
        missing = sorted(self.home.required() - {found.name for found in self._evaluators})
        if missing:
            raise SettingsError(
                f"agents of this home are judged by {', '.join(missing)}, not loaded here: start the worker with "
                f"--app pkg.mod:live, or take the names of evaluators that are gone out of {self.home.requirements}"
            )

    def close(self) -> None:
        """Stop the worker, if it runs here, and write what the journal still holds."""
        self.stop()
        if "_writer" in self.__dict__ and self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Live:
        """Use as `with Live(…) as live:`; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # -- inside ----------------------------------------------------------------------------------------

    @property
    def _usable(self) -> bool:
        """Whether anything can be recorded; asked before whatever writes."""
        self._may_write()
        return self._made

    def _may_write(self) -> None:
        if self._read_only:
            raise HomeError(f"home {self.home.path} was opened with read_only=True: it can only be looked into")

    def _make_home(self) -> bool:
        if self._read_only:
            if not (self.settings.buffer or "").startswith("postgresql"):  # a server can be asked from anywhere
                self.home.must_be_there()
            return False
        if not self.settings.enabled:
            return False
        try:
            self.home.create()
            key = load_key(self.home.path)
        except HomeError as error:
            if self.settings.strict:
                raise
            logger.error("%s; nothing will be recorded", error)
            return False
        self._redactor = Redactor(self.settings.pii, key, hook=self._hook, count=self._count)
        return True

    def _count(self, name: str, n: int) -> None:
        if self._writer is not None:
            self._writer.count(name, n)

    @cached_property
    def _writer(self) -> Writer | None:
        if not self._usable:
            return None
        return Writer(
            self.home.journal,
            flush_seconds=self.settings.flush_seconds,
            segment_bytes=self.settings.segment_bytes,
            max_queue_bytes=self.settings.max_queue_bytes,
            strict=self.settings.strict,
        )

    @cached_property
    def _capture(self) -> Capture:
        from agenther_live.integrations.langgraph import Capture

        assert self._writer is not None, "capture is only asked for where the home is usable"
        return Capture(self._writer, self._redactor, self.settings)

    def _handler(self, *, policy_version: str | None = None, **options: Any) -> TrajectoryRecorder:
        from agenther_live.integrations.langgraph import TrajectoryRecorder

        return TrajectoryRecorder(
            self._capture, policy_version=policy_version or self.settings.policy_version, **options
        )

    @contextlib.contextmanager
    def _as_worker(self) -> Iterator[None]:
        self._may_write()
        if self._scheduler is not None:  # our own thread holds the home already; ticks take turns by themselves
            yield
            return
        with self.home.held_by_worker():
            self._begin_anew()
            yield

    @contextlib.contextmanager
    def _between_ticks(self) -> Iterator[None]:
        """Hold the home as its worker, while no tick of this process is under way."""
        with self._as_worker(), self.parts.turn if "parts" in self.__dict__ else contextlib.nullcontext():
            yield

    def _redacted(self, text: str) -> str:
        """Give an id as capture writes it, also where nothing is recorded now (`enabled = false`)."""
        self._may_write()
        known = self._redactor if self._made else Redactor(self.settings.pii, load_key(self.home.path), hook=self._hook)
        return known.text(bounded_id(text))

    def _place(self) -> Place:
        from agenther_live.erase import Place
        from agenther_live.journal import Reader
        from agenther_live.replies import Replies

        if "parts" in self.__dict__:
            return Place(self.home, self.buffer, self.parts.reader, self.parts.replies)
        return Place(self.home, self.buffer, Reader(self.home.journal), Replies(self.home.replies))

    def _begin_anew(self) -> None:
        if self._stopped:  # by `stop`, which came to its end; what a signal asks for is not taken back
            self._stop.clear()
            self._stopped = False

    def _forget_worker(self) -> None:
        """In a forked child: the worker's thread stayed in the parent, and its locks may be held for ever here."""
        self._stop, self._stopped = threading.Event(), False
        self._scheduler = None
        self._resources = contextlib.ExitStack()
        self.__dict__.pop("parts", None)

    def _declare(self, agent: str, polarity: Mapping[str, str]) -> None:
        from agenther_live.polarity import checked, declare

        try:
            declare(self.home, agent, checked(polarity))
        except HomeError as error:
            if self.settings.strict:
                raise
            logger.error("%s", error)

    def _bind(self, handler: Any, agent: str, names: tuple[str, ...]) -> None:
        """Let the runs of each attachment say who judges them, where attachments of one name differ in that."""
        alike = self._attached.setdefault(agent, {})
        alike.setdefault(names, weakref.WeakSet()).add(handler)
        if len(alike) > 1:
            for mine, handlers in alike.items():
                for each in tuple(handlers):
                    each.options = replace(each.options, evaluators=mine)

    def _add_evaluator(self, function: Callable[..., Any], *, agent: str | None) -> str:
        """Take an evaluator in, unless it is known; give the name under which it judges."""
        new = evaluator(function, agent=agent)
        found = told_apart(new, self._evaluators)
        if found is None:
            same = (new.function, new.agent)
            return next(each.name for each in self._evaluators if (each.function, each.agent) == same)
        self._evaluators.append(found)
        if self._usable:
            try:
                self.home.require(found.name)
            except HomeError as error:
                if self.settings.strict:
                    raise
                logger.error("%s", error)
        return found.name


def _finite(score: Any) -> bool:
    """Whether it is a finite number, of whichever type."""
    try:
        return math.isfinite(score)
    except (TypeError, OverflowError):
        return False


def _panel(judges: Any) -> tuple[Any, ...]:
    """Judges as a tuple; a panel of one may be given bare."""
    return tuple(judges) if isinstance(judges, Sequence) and not isinstance(judges, str) else (judges,)


_lives: weakref.WeakSet[Live] = weakref.WeakSet()


def _after_fork() -> None:
    for live in list(_lives):
        live._forget_worker()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class TrajectoryHandle:
    """The trajectory of a `with live.trajectory()` block."""

    live: Live
    trajectory_id: str

    def success(self, reason: str | None = None) -> None:
        """Say that the goal was reached."""
        self.live.feedback(trajectory_id=self.trajectory_id, success=True, reason=reason)

    def failure(self, reason: str | None = None) -> None:
        """Say that the goal was not reached."""
        self.live.feedback(trajectory_id=self.trajectory_id, success=False, reason=reason)

    def reward(self, score: float, *, key: str = "reward", comment: str | None = None) -> None:
        """Give a reward of the environment."""
        self.live.feedback(trajectory_id=self.trajectory_id, key=key, score=score, comment=comment, source="reward")
