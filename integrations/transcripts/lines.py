"""Bounded lines of a text file, plain or gzip: what can be read is given, what cannot is named. Never raises."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end; `number` counts from 1. `whole` is false where the file broke off inside it."""

    number: int
    data: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read; `number` is the line that it concerns, 0 for the file as such."""

    number: int
    reason: str


def read_lines(path: Path, *, max_line_bytes: int) -> Iterator[Line | Damage]:
    """Read the non-blank lines of `path`. Only LF ends a line; CR before it and a byte order mark are taken off.

    A line over `max_line_bytes` is skipped and named. A gzip stream that breaks off gives all that came before
    the break, then a `Damage`.
    """
    number, held, skipping = 1, bytearray(), False
    broken: str | None = None
    for chunk in _chunks(path):
        if isinstance(chunk, str):
            broken = chunk
            break
        pieces = chunk.split(b"\n")
        for at, piece in enumerate(pieces):
            if not skipping:
                held += piece
                if len(held) > max_line_bytes:
                    yield Damage(number, f"the line is longer than {max_line_bytes} bytes")
                    held, skipping = bytearray(), True
            if at == len(pieces) - 1:
                continue
            yield from _line(number, bytes(held), whole=True)
            number, held, skipping = number + 1, bytearray(), False
    yield from _line(number, bytes(held), whole=broken is None)
    if broken is not None:
        opened = number > 1 or bool(held) or skipping
        yield Damage(number if opened else 0, broken)


def _line(number: int, data: bytes, *, whole: bool) -> Iterator[Line]:
    if number == 1:
        data = data.removeprefix(_BOM)
    data = data.removesuffix(b"\r")
    if data.strip():
        yield Line(number, data, whole)


def _chunks(path: Path) -> Iterator[bytes | str]:
    """Give the file's bytes, decompressed; a string is the reason why there are no more."""
    try:
        with path.open("rb") as file:
            first = file.read(_CHUNK)
            if first.startswith(_GZIP):
                yield from _inflate(first, lambda: file.read(_CHUNK))
                return
            while first:
                yield first
                first = file.read(_CHUNK)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        yield f"the file cannot be read: {getattr(error, 'strerror', None) or error}"


def _inflate(data: bytes, more: Callable[[], bytes]) -> Iterator[bytes | str]:
    """Decompress gzip members one after the other, a bounded piece at a time."""
    stream = zlib.decompressobj(wbits=31)
    while True:
        try:
            piece = stream.decompress(data, _CHUNK)
        except zlib.error:
            yield "the gzip data is damaged here; what came before was read"
            return
        if piece:
            yield piece
        data = stream.unconsumed_tail
        if stream.eof:
            data = (stream.unused_data or more()).lstrip(b"\0")  # tape padding
            if not data:
                return
            stream = zlib.decompressobj(wbits=31)
        elif not data:
            data = more()
            if not data:
                yield "the gzip file ends in the middle; what came before was read"
                return
