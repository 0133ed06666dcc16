"""The buffer's file, open over several calls of one tick."""

from __future__ import annotations

import contextlib

from agenther_live.buffer.store import Buffer


class Opening:
    """The buffer's file, open over several calls; it can be let go meanwhile, for a model call or others' turn."""

    def __init__(self, buffer: Buffer) -> None:
        """Take the buffer; nothing is opened yet."""
        self._buffer = buffer
        self._held = contextlib.ExitStack()
        self._open = False

    def open(self) -> None:
        """Have it open from here on."""
        if not self._open:
            self._held.enter_context(self._buffer.hold())
            self._open = True

    def close(self) -> None:
        """Let it go."""
        self._open = False
        self._held.close()

    def __enter__(self) -> Opening:
        """Have it open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go."""
        self.close()
