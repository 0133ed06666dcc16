"""The home directory: where everything lies, private to its owner, and held by one worker at a time."""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agenther_live.errors import HomeError, NoHome, WorkerRunning

__all__ = ["Home"]


@dataclass(frozen=True)
class Home:
    """The paths of one home. Folders are made with mode 0700, files with 0600."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings file, `agenther.toml`."""
        return self.path / "agenther.toml"

    @property
    def journal(self) -> Path:
        """Folder of the segments that capturing processes append to."""
        return self.path / "journal"

    @property
    def replies(self) -> Path:
        """Folder of model replies, stored before they are parsed."""
        return self.path / "replies"

    @property
    def database(self) -> Path:
        """The replay buffer's DuckDB file."""
        return self.path / "buffer.duckdb"

    @property
    def shards(self) -> Path:
        """Folder that trainers read."""
        return self.path / "shards"

    @property
    def lock(self) -> Path:
        """File whose lock the one worker of this home holds; it names the worker's pid."""
        return self.path / "worker.lock"

    @property
    def last_tick(self) -> Path:
        """Note of the worker's last tick: when it was, and why relabeling pauses."""
        return self.path / "worker.json"

    @property
    def requirements(self) -> Path:
        """What the attached agents ask of a worker: the names of their evaluators."""
        return self.path / "evaluators.json"

    @property
    def there(self) -> bool:
        """Whether a home is here: anything that captures, works or sets it up has left something.

        Raises:
            HomeError: one cannot look.
        """
        try:
            signs = (self.database, self.shards / "manifest.jsonl")
            return self.journal.is_dir() or any(map(Path.exists, signs)) or os.path.lexists(self.config)
        except OSError as error:
            raise HomeError(f"home {self.path} cannot be read: {error.strerror or error}") from None

    def must_be_there(self) -> None:
        """Refuse a folder that is no home: one that is looked for by a slip in its name is not made.

        Raises:
            NoHome: naming the homes that may have been meant.
            HomeError: one cannot look.
        """
        if self.there:
            return
        what = "no folder, so no home" if self.path.is_file() else "no home: there is neither journal nor buffer in it"
        near = _homes_near(self.path)
        hint = f". Did you mean {' or '.join(map(str, near))}?" if near else "."
        raise NoHome(
            f"{self.path} is {what}{hint} --home or AGENTHER_HOME names the home; an attached agent, `worker`, "
            "`tick`, `import` and `demo` make one"
        )

    def create(self) -> None:
        """Make the folders.

        Raises:
            HomeError: where the home cannot be made or written.
        """
        try:
            # Folders above the home are made as any other folder is: only the home itself is private.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.journal, self.replies, self.shards):
                folder.mkdir(mode=0o700, exist_ok=True)
            # A name of its own: in every container there is a pid 1, and two of them may begin at once.
            probe = self.path / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
            probe.touch(mode=0o600)
            probe.unlink()
        except FileExistsError as error:
            raise HomeError(f"home {self.path} cannot be written: {error.filename} is not a directory") from None
        except OSError as error:
            raise HomeError(f"home {self.path} cannot be written: {self._refused(error)}") from None

    def _refused(self, error: OSError) -> str:
        told = error.strerror or str(error)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and self.path.is_dir():
            told += "; it is read-only here, where verbs that only look work on it, such as status, sql and show"
        return told

    def note(self, path: Path, data: bytes) -> None:
        """Write a small file of the home whole or not at all, for its owner's eyes only.

        Raises:
            OSError: the volume refuses.
        """
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
            draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    def key(self, path: Path, make: Callable[[], bytes]) -> bytes:
        """Give a file of the home that is made once, whole or not at all; of two that begin at once the first counts.

        It is linked to its name. Where a file system has no hard links (exFAT, some network mounts), it is renamed to
        it under the lock of the notes.

        Raises:
            OSError: the volume refuses.
        """
        if not path.exists():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            try:
                with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    file.write(make())
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(draft, path)
                except FileExistsError:
                    pass
                except OSError:
                    with self.changing_notes():
                        if not path.exists():
                            draft.rename(path)
            finally:
                draft.unlink(missing_ok=True)
        return path.read_bytes()

    @contextmanager
    def changing_notes(self) -> Iterator[None]:
        """Let nobody else read a note and write it anew meanwhile: of two agents that begin at once both are noted.

        Raises:
            OSError: the volume refuses.
        """
        descriptor = os.open(self.path / "notes.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def require(self, evaluator: str) -> None:
        """Let every worker of this home know that agents are judged by this evaluator.

        Raises:
            HomeError: it cannot be written down.
        """
        if evaluator in self.required():
            return
        try:
            with self.changing_notes():
                self.note(self.requirements, json.dumps(sorted(self.required() | {evaluator})).encode())
        except OSError as error:
            raise HomeError(f"{self.requirements} cannot be written: {error.strerror or error}") from None

    def required(self) -> set[str]:
        """Give the names of the evaluators by which agents of this home are judged."""
        try:
            return set(json.loads(self.requirements.read_bytes()))
        except (OSError, ValueError, TypeError):  # a file that cannot be read names nobody
            return set()

    @contextmanager
    def held_by_worker(self) -> Iterator[None]:
        """Hold the home as its one worker.

        Raises:
            WorkerRunning: another process, or another `Live` of this one, holds it.
        """
        try:
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeError(f"home {self.path} cannot be written: {self._refused(error)}") from None
        _held.add(descriptor)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise WorkerRunning(
                    f"home {self.path} has a worker already (pid {holder}); one worker serves a home"
                ) from None
            except OSError as error:  # a file system without locks
                raise HomeError(f"home {self.path} cannot be locked: {error.strerror or error}") from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            if descriptor in _held:  # else this is a forked child, which does not hold the home
                _held.discard(descriptor)
                os.close(descriptor)


def _homes_near(path: Path) -> list[Path]:
    """Homes that a wrong path may have meant: around it, or with a name like it."""
    around = [path.parent, path / "agenther", Path("agenther").absolute()]
    found: list[Path] = []
    with contextlib.suppress(OSError, HomeError):
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        like = [path.with_name(name) for name in difflib.get_close_matches(path.name, names, n=3)]
        found = [each for each in dict.fromkeys([*like, *around]) if each != path and Home(each).there]
    return found[:3]


_held: set[int] = set()


def _after_fork() -> None:
    """Let go in a forked child: else the home would stay held after its worker died, for as long as the child lives."""
    for descriptor in tuple(_held):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork)
