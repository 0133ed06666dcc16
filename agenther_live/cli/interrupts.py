"""Ctrl-C ends a verb quietly, wherever it comes.

Python raises KeyboardInterrupt between any two steps of the main thread. Two kinds of places do not let it through.
What runs where nothing can be raised (finalizers, callbacks of weak references, imports among them) prints a traceback,
and goes on as if nobody had asked. And libraries log what they then raise again, as SQLAlchemy does where it closes a
connection (`logs.Stray` leaves that out). Nothing heavy is imported here: this is in place before the verbs load.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

__all__ = ["is_behind", "let_interrupts_through", "over"]

_AGAIN_SECONDS = 0.02
_ours: set[object] = set()


def let_interrupts_through() -> None:
    """From now on, an interrupt that got lost where nothing can be raised comes once more, and prints nothing."""
    before = sys.unraisablehook
    if before in _ours:
        return

    def hook(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            _again()
        else:
            before(lost)

    _ours.add(hook)
    sys.unraisablehook = hook


def _again() -> None:
    """Interrupt the main thread once it is out of the place that swallowed the interrupt."""

    def later() -> None:
        time.sleep(_AGAIN_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    with suppress(RuntimeError):  # the interpreter goes down: no thread can be begun, and it ends anyway
        threading.Thread(target=later, daemon=True).start()


def is_behind(error: BaseException | None) -> bool:
    """Whether an error stands for an interrupt: Python 3.11 makes a RuntimeError of one in `__set_name__`."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def over() -> None:
    """An interrupt is being obeyed: a second one while the interpreter goes down ends the process at once."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
