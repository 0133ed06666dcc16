"""Python's garbage collector, asked to come less often while much is read at once.

What is read for a draw, or waits as rows to be stored, is many small objects that all live until the end, and none of
them is garbage in a cycle. The collector comes for every 700 objects (2,000 since Python 3.13) that were made and not
let go, and looks through the young ones, and now and then through all of them. While the facts of a batch of the
journal were all read at once, that was a third of the CPU of taking it in; read run by run, they leave little of it.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["seldom_collected"]

_YOUNG = 1_000_000  # more than are alive in a batch of 16 MB
_lock = threading.Lock()
_inside = 0
_before = (0, 0, 0)


@contextmanager
def seldom_collected(*, kept: bool = False) -> Iterator[None]:
    """Let the collector come for every 1,000,000 objects only, until the last such block of the process ends.

    It is never off: what other threads leave behind meanwhile is still found, at the end of the block at the latest.
    So let go of what was read before it ends: what is alive then is looked through. Unless it is `kept`: then it counts
    as old at once, without a look, and what is garbage of it is found when the collector next looks through all. Where
    the collector is off already, or comes less often than that, nothing changes.
    """
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _YOUNG:
                gc.set_threshold(_YOUNG, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            if _inside:  # not in a child that was forked from within
                _inside -= 1
                if _inside == 0:
                    if kept and gc.isenabled() and not gc.get_freeze_count():  # what is frozen is its owner's affair
                        gc.freeze()  # moves all that is young among the oldest: three pointers, whatever their number
                        gc.unfreeze()
                    gc.set_threshold(*_before)


def _after_fork() -> None:
    """In a forked child no block of another thread goes on, and nobody else would end it."""
    global _lock, _inside
    _lock = threading.Lock()
    if _inside:
        _inside = 0
        gc.set_threshold(*_before)


os.register_at_fork(after_in_child=_after_fork)
