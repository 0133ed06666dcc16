"""The open segment of a writer: whole lines go in, and it is known exactly which ones did."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agenther_live.journal.segments import create_segment

__all__ = ["Appender"]


class Appender:
    """Appends lines to one writer's segments, the next one begun where one is full or gone. Not thread-safe."""

    def __init__(self, folder: Path, writer: str, segment_bytes: int, count: Callable[[str, int], None]) -> None:
        """Prepare; the first segment is made by the first `open`."""
        self._folder = folder
        self._writer = writer
        self._segment_bytes = segment_bytes
        self._count = count
        self._next = 0
        self._torn = False  # the file ends in part of a line that could not be cut off
        self._file: io.FileIO | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether a segment is open, and so locked."""
        return self._file is not None

    def open(self) -> tuple[io.FileIO, int]:
        """Give the segment to write to, and its size in bytes.

        One system call where it is open already: each lets go of the interpreter, and beside threads that burn CPU to
        come back takes milliseconds.

        Raises:
            OSError: none can be opened.
        """
        file = self._file
        usable, size = False, 0
        if file is not None:
            stat = os.fstat(file.fileno())
            size = stat.st_size
            usable = stat.st_nlink > 0 and not self._torn
            if usable and size < self._segment_bytes:
                return file, size
            if not stat.st_nlink:
                self._count("segments_vanished", 1)
        self._next += 1
        try:
            # The next segment is locked before the last one is let go: at no moment does the writer look dead.
            following = create_segment(self._folder, self._writer, self._next - 1)
        except OSError:
            if file is not None and usable:
                return file, size
            self.close()
            raise
        self.close()
        self._file = following
        return following, os.fstat(following.fileno()).st_size

    def append(self, lines: Sequence[bytes], accepted: Callable[[int], None]) -> None:
        """Write lines with one write(2), and tell `accepted` how many the file took, however this ends.

        Raises:
            OSError: the volume refused some of them.
        """
        number = 0
        try:
            file, base = self.open()
            data = b"".join(lines)
            try:
                done = file.write(data) or 0
                while done < len(data):  # a short write: the next one goes on, or tells why not
                    done += file.write(data[done:]) or 0
                number = len(lines)
            except BaseException:
                number = self._cut_back(file, base, lines)
                raise
        finally:
            accepted(number)

    def beat(self) -> None:
        """Touch the open segment, as a sign of life beside the lock.

        One that its name does not lead to any more (its volume was taken away, and perhaps another put in its place) is
        given up, since nobody will ever read it: the next line begins a new one.
        """
        if self._file is None:
            return
        os.utime(self._file.fileno())
        path = self._folder / f"{self._writer}.{self._next - 1}.jsonl"
        try:
            there = os.path.samestat(os.stat(path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            there = False
        if not there:
            self._count("segments_vanished", 1)
            self.close()

    def close(self) -> None:
        """Close the segment, which gives its lock back; in a forked child the parent keeps file and lock."""
        file, self._file = self._file, None
        self._torn = False
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _cut_back(self, file: io.FileIO, base: int, lines: Sequence[bytes]) -> int:
        """After a broken write: count the whole lines that the file took, and cut the torn one off.

        The file's own size tells, so this holds for a full disk, a short write and an exception out of a signal
        handler alike. Nobody has read the torn line: readers stop at the last newline.
        """
        size = os.fstat(file.fileno()).st_size
        number, end = 0, base
        for line in lines:
            if end + len(line) > size:
                break
            number, end = number + 1, end + len(line)
        if end < size:
            try:
                os.ftruncate(file.fileno(), end)
            except OSError:
                self._torn = True  # the next write goes to a new segment
        return number
