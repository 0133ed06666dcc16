"""Names for things: time-ordered ids, and hashes of content."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from typing import Any

import orjson

__all__ = ["bounded_id", "content_hash", "uuid7"]

_RANDOM_BITS = 74
_LONGEST = 1024
_last = 0
_lock = threading.Lock()


def bounded_id(given: str) -> str:
    """Give an id or a name itself, or of one over 1,024 characters its hash: the same in every process."""
    if not isinstance(given, str) or len(given) <= _LONGEST:  # callers put numbers and UUIDs into messages too
        return given
    return f"sha256:{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()}"


def uuid7() -> str:
    """Make a UUIDv7 as text (RFC 9562, 5.7); ids of one process sort in the order they were made.

    A clock that stands still or jumps back does not break the order: the last id is then raised by a random
    amount (RFC 9562, 6.2, method 2), which also keeps a forked child apart from its parent.
    """
    global _last
    noise = int.from_bytes(os.urandom(14), "big")
    stamp = time.time_ns() // 1_000_000
    value = (stamp << _RANDOM_BITS) | (noise >> 38)
    with _lock:
        if value <= _last:
            value = _last + 1 + (noise & 0xFFFFFFFF)
        _last = value
    ms, random = value >> _RANDOM_BITS, value & ((1 << _RANDOM_BITS) - 1)
    whole = (ms << 80) | (0x7 << 76) | ((random >> 62) << 64) | (0b10 << 62) | (random & ((1 << 62) - 1))
    text = f"{whole:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def content_hash(obj: Any) -> str:
    """Hash a JSON-like value: SHA-256 in hex over its canonical JSON (sorted keys, no spaces, UTF-8).

    Raises:
        TypeError: the value is not JSON-like.
    """
    try:
        data = orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits, lone surrogates: JSON has them, orjson does not
        data = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    return hashlib.sha256(data).hexdigest()


def _after_fork() -> None:
    """Give the child a lock of its own: another thread of the parent may have held this one."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
