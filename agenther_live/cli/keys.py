"""Keys of a terminal, one at a time and without Return."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["single_keys"]

_ESCAPE, _END = "\x1b", "\x04"


@contextmanager
def single_keys() -> Iterator[Callable[[], str]]:
    """Read keys as they are typed, until the block ends; what is typed ahead is kept, Ctrl-C interrupts as ever.

    The function raises EOFError at Ctrl-D and where the terminal went away. Keys that send a sequence (arrows, function
    keys) are left out as a whole: their last letter must not pass for an answer.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    waiting: deque[str] = deque()

    def key() -> str:
        while not waiting:
            typed = os.read(terminal, 64).decode(errors="replace")
            if not typed:
                raise EOFError
            waiting.extend(typed.partition(_ESCAPE)[0])
        if (found := waiting.popleft()) == _END:
            raise EOFError
        return found

    tty.setcbreak(terminal, termios.TCSADRAIN)
    try:
        yield key
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
