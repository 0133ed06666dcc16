"""The home directory: where everything lies, private to its owner, and held by one worker at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agenther_live.errors import HomeError, WorkerRunning

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
    def requirements(self) -> Path:
        """What the attached agents ask of a worker: the names of their evaluators."""
        return self.path / "evaluators.json"

    def create(self) -> None:
        """Make the folders.

        Raises:
            HomeError: where the home cannot be made or written.
        """
        try:
            for folder in (self.path, self.journal, self.replies, self.shards):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise HomeError(f"home {self.path} cannot be written: {error.strerror or error}") from None

    @contextmanager
    def held_by_worker(self) -> Iterator[None]:
        """Hold the home as its one worker.

        Raises:
            WorkerRunning: another process, or another `Live` of this one, holds it.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise WorkerRunning(
                    f"home {self.path} has a worker already (pid {holder}); one worker serves a home"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)
