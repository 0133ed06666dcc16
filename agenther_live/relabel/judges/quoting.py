"""Hostile text made safe to show: one JSON value on one line, between markers that nobody could guess.

Inside it no `<`, backtick or `#` is left (no tag, fence or heading can be forged), nor any invisible character; markers
are 64 bits of a keyed hash of the prompt's own content, so the same question gives the same prompt, and a trajectory
cannot know the marker that will stand around it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

from agenther_live.relabel.reading.calls import shallow

__all__ = ["marker_for", "one_line", "opened", "visible"]

# Invisible, though Unicode calls some of them letters or marks.
_HIDDEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0\ufffc")
_MAY_HIDE = re.compile(r"\\[bfru]")  # how JSON spells carriage returns and control characters
_SHORT = 4000  # longer texts are not kept
_ESCAPES = {"<": "\\u003c", "`": "\\u0060", "#": "\\u0023"}


@lru_cache(maxsize=8192)
def _shown(character: str) -> bool:
    if character in "\n\t" or character == " ":
        return True
    code = ord(character)
    if character in _HIDDEN or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE0FFF:
        return False
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str) -> str:
    """The text without invisible characters; line ends stay, whatever their form."""
    if text.isascii() and text.isprintable():
        return text
    text = (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("\u2028", "\n")
        .replace("\u2029", "\n")
        .replace("\x85", "\n")
    )
    return "".join(filter(_shown, text))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def opened(text: str) -> Any:
    """The value that a text spells as JSON, where that value written out is the text again; else the text itself.

    So nothing is lost by showing the value: no key that stands twice, no digit, no invisible character, no NaN.
    """
    if text[:1] not in ("{", "["):
        return text
    return _opened_short(text) if len(text) <= _SHORT else _opened(text)


def _opened(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
        if not isinstance(value, dict | list) or not shallow(value):
            return text
        for separators in ((", ", ": "), (",", ":")):
            if json.dumps(value, separators=separators) == text or (
                not text.isascii() and json.dumps(value, ensure_ascii=False, separators=separators) == text
            ):
                return value if _plain(text) or _cleaned(value) == value else text
    except (ValueError, RecursionError):
        pass
    return text


_opened_short = lru_cache(maxsize=1024)(_opened)  # a run is shown to a relabeler and to judges


def _plain(text: str) -> bool:
    """Whether JSON holds nothing that `visible` would take out."""
    seen = (text.isascii() and text.isprintable()) or all(map(_shown, set(text)))
    return seen and not _MAY_HIDE.search(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def one_line(value: Any) -> str:
    """A value as JSON on one line, with everything escaped that could look like structure of the prompt."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    if not _plain(text):
        text = json.dumps(_cleaned(value), ensure_ascii=False, separators=(",", ":"), default=str)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def marker_for(key: bytes, *parts: str) -> str:
    """The marker of a prompt with this content: 16 hex digits."""
    return hashlib.blake2b("\x1f".join(parts).encode(), key=key[:64], digest_size=8).hexdigest()
