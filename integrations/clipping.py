"""Texts cut to a bound, so that no part of a secret is left at the cut."""

from __future__ import annotations

import re
from typing import Any, Protocol

from agenther_live.redact.secrets import is_secret_name

__all__ = ["Clip", "Redaction", "size_of"]

_SEAM = 8_192  # characters looked at on each side of a cut: more than any usual secret has
_BEFORE = 256  # characters before a long secret that may say what it is
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=_-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_-])")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TOKEN = _LETTERS + ".+/=~%"  # what words are made of that are secrets
_JWT = re.compile(r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))eyJ")
_KEY = "-----BEGIN "
_FIELD = re.compile(r"""(?P<quote>["'])(?P<name>[^"'\\\r\n]{1,100})\\*(?P=quote)\s{0,4}:\s{0,4}\\*\Z""")
_QUOTES = 64  # so many of them within one value are looked behind


class Redaction(Protocol):
    """Takes secrets and personal data out of JSON-like data."""

    def value(self, obj: Any) -> Any:
        """Give `obj` without them; the same object if there are none."""


class Clip:
    """Cuts texts to `limit` bytes, and says how long they were.

    What is left of a secret that a cut goes through may be too short to be known for one. So the text around a cut is
    looked at twice, without and with what follows: where that makes a difference, the cut goes back before it. Of a
    secret that is longer than what is looked at, its beginning tells: a word that goes on to the cut is looked at from
    where it begins, a JWT is known by its first letters, the value of a field by the name before it. However long a
    text is, no more of it is looked at than what is kept and a little behind it.
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
        """Give the last place up to `end` where nothing is cut in two."""
        end = _outside(text, end)
        word = len(text[:end].rstrip(_TOKEN))
        start, place, back = max(0, min(end - _SEAM, word - _BEFORE)), end, 8

        def seen(stop: int) -> str:  # what is left of JSON is none: so it is looked at as plain text with its end too
            return str(redaction.value(f"( {text[start:stop]}"))

        whole = seen(end + _SEAM)
        if end - word > _SEAM and not whole.startswith(seen(end)):
            place = word
        while place > start and not whole.startswith(seen(place)):
            place, back = max(start, end - back), back * 2
        for found in _AWS_SECRET.finditer(text, max(start, place - 40), place + 40):  # known by words far away
            if found.start() < place < found.end():
                return found.start()
        return place


def _outside(text: str, end: int) -> int:
    """Give where a secret begins that `end` lies in and that is known by its beginning alone; else `end`."""
    token = _JWT.search(text, len(text[:end].rstrip(_LETTERS + ".")), end)
    if token is not None:
        end = token.start()
    key = text.rfind(_KEY, 0, end)
    if key >= 0 and "PRIVATE KEY" in text[key : key + 60] and text.find("-----END ", key, end) < 0:
        end = key
    field = _field(text, end)
    return end if field is None or is_secret_name(text[slice(*field)]) is None else field[1]


def _field(text: str, end: int) -> tuple[int, int] | None:
    """Find the field in whose quoted value `end` lies, in JSON, JSON in JSON, or a repr: the span of its name."""
    quote, least = end, {'"': _QUOTES, "'": _QUOTES}
    for _ in range(_QUOTES):
        quote = max(text.rfind('"', 0, quote), text.rfind("'", 0, quote))
        if quote < 0:
            break
        escapes = quote - len(text[max(0, quote - _QUOTES) : quote].rstrip("\\")) - max(0, quote - _QUOTES)
        field = _FIELD.search(text, max(0, quote - 120), quote)
        if field is not None:
            return None if least[text[quote]] <= escapes else field.span("name")
        least[text[quote]] = min(least[text[quote]], escapes)
    return None


def size_of(text: str) -> int:
    """Give the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
