"""Text that UTF-8 can hold: Python keeps half a surrogate pair in a text, and no file, hash or database takes it."""

from __future__ import annotations

__all__ = ["is_whole", "whole"]


def whole(text: str) -> str:
    """Give a text with U+FFFD for each half of a pair; itself where it has none.

    Two halves that belong together become their character.
    """
    return text if is_whole(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_whole(text: str) -> bool:
    """Whether UTF-8 can hold a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
