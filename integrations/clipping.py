"""Texts cut to a bound, so that no part of a secret is left at the cut."""

from __future__ import annotations

import re
from typing import Any, Protocol

__all__ = ["Clip", "Redaction", "size_of"]

_SEAM = 8_192  # characters looked at on each side of a cut: more than any usual secret has
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=_-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_-])")


class Redaction(Protocol):
    """Takes secrets and personal data out of JSON-like data."""

    def value(self, obj: Any) -> Any:
        """Give `obj` without them; the same object if there are none."""


class Clip:
    """Cuts texts to `limit` bytes, and says how long they were.

    What is left of a secret that a cut goes through may be too short to be known for one. So the text around a cut is
    looked at twice, without and with what follows: where that makes a difference, the cut goes back before it. However
    long a text is, no more of it is looked at.
    """

    __slots__ = ("_redaction", "limit")

    def __init__(self, limit: int, redaction: Redaction | None = None) -> None:
        """Cut to `limit` bytes of UTF-8; without redaction wherever that is."""
        self.limit = limit
        self._redaction = redaction

    def __call__(self, text: str) -> str:
        """Give the text itself, or where it has more bytes than `limit` what fits; it is not redacted yet."""
        limit = self.limit
        if len(text) * 4 <= limit or (len(text) <= limit and size_of(text) <= limit):
            return text
        end = len(text[:limit].encode("utf-8", "surrogatepass")[:limit].decode("utf-8", "ignore"))
        if self._redaction is not None:
            end = self._sound(text, end, self._redaction)
        return f"{text[:end]}… [cut: {len(text)} characters]"

    def _sound(self, text: str, end: int, redaction: Redaction) -> int:
        """Give the last place up to `end` where nothing is cut in two; of what comes before, at most a little goes."""
        start, place, back = max(0, end - _SEAM), end, 8

        def seen(stop: int) -> str:  # what is left of JSON is none: so it is looked at as plain text with its end too
            return str(redaction.value(f"( {text[start:stop]}"))

        whole = seen(end + _SEAM)
        while place > start and not whole.startswith(seen(place)):
            place, back = max(start, end - back), back * 2
        for found in _AWS_SECRET.finditer(text, max(start, place - 40), place + 40):  # known by words far away
            if found.start() < place < found.end():
                return found.start()
        return place


def size_of(text: str) -> int:
    """Give the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
