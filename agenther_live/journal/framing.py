r"""Lines that tell when they are damaged: `crc32 json\n`, the CRC in eight hex digits over the JSON's bytes.

JSON as orjson writes it holds no raw newline, so a line is found again after any damage: what is broken is one
line, never the rest. The journal and the store of model replies share this form.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

__all__ = [
    "READABLE",
    "VERSION",
    "as_json",
    "decode_line",
    "encode_line",
    "header",
    "lines",
    "payload",
    "plain_json",
    "scan",
]

VERSION = 1
READABLE = frozenset({VERSION, VERSION - 1})
_MAX_DEPTH = 60
_PREFIX = 9  # eight hex digits and a space


def encode_line(record: Mapping[str, Any]) -> bytes:
    """Encode one record as a line, its newline included.

    What JSON cannot hold is stored as text (objects by `str`, lone surrogates and bytes replaced, integers beyond
    64 bits in digits), so that a record with one odd value is still a record. Never raises for a dict.
    """
    data = plain_json(record)
    return b"%08x %b\n" % (zlib.crc32(data), data)


def as_json(value: Any) -> Any:
    """Give what a reader will get for this value: plain dicts, lists, texts and numbers."""
    return orjson.loads(plain_json(value))


def decode_line(line: bytes) -> dict[str, Any] | None:
    """Decode one line without its newline; None if a bit of it is not as it was written."""
    data = payload(line)
    if data is None:
        return None
    try:
        record = orjson.loads(data)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def payload(line: bytes) -> bytes | None:
    """Give the JSON of a line without its newline; None if a bit of it is not as it was written."""
    if len(line) < _PREFIX + 2 or line[8] != 0x20:
        return None
    data = line[_PREFIX:]
    try:
        return data if int(line[:8], 16) == zlib.crc32(data) else None
    except ValueError:
        return None


def lines(data: bytes, start: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Walk the whole lines of `data`: (offset, offset behind the newline, the line without it).

    Bytes behind the last newline are a torn tail and are not given; offsets count from `start`.
    """
    position = 0
    while (newline := data.find(b"\n", position)) >= 0:
        yield start + position, start + newline + 1, data[position:newline]
        position = newline + 1


def scan(data: bytes, start: int = 0) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Walk the records of `data` as `lines` does: (offset, offset behind the newline, record or None where damaged)."""
    return ((begin, end, decode_line(line)) for begin, end, line in lines(data, start))


def header(writer: str, segment: int, at: float) -> bytes:
    """Make the first line of a segment: its format version and whose it is; `at` in epoch seconds."""
    return encode_line({"k": "segment", "v": VERSION, "writer": writer, "n": segment, "at": at})


def plain_json(value: Any) -> bytes:
    """Write JSON; what it cannot hold, as `encode_line` says."""
    try:
        return orjson.dumps(value, default=_as_text)
    except TypeError:
        return orjson.dumps(_plain(value, _MAX_DEPTH))


def _as_text(value: Any) -> Any:
    """Stand in for a value that JSON does not have."""
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    try:
        return str(value)
    except Exception:  # a foreign __str__ may do anything; the record matters more
        return f"<{type(value).__name__}>"


def _plain(value: Any, depth: int, inside: frozenset[int] = frozenset()) -> Any:
    """Rebuild a value so that orjson accepts every part of it; `inside` holds the containers around it."""
    if isinstance(value, str):
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < (1 << 64) else str(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if depth == 0 or id(value) in inside:
            return "…"
        inside |= {id(value)}
        if isinstance(value, Mapping):
            return {_plain(str(key), 1): _plain(item, depth - 1, inside) for key, item in value.items()}
        return [_plain(item, depth - 1, inside) for item in value]
    return _plain(str(_as_text(value)), 1)
