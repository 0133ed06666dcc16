"""Secrets and personal data out, before anything is written.

What is found is replaced by a placeholder such as `[SECRET:api_key:3f9a1c0b77de]`. Its last part is a keyed hash of the
value, so that one value has one placeholder in every process that shares the key, and nobody can look the value up.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from agenther_live.errors import HomeError
from agenther_live.home import Home
from agenther_live.journal.framing import as_json
from agenther_live.redact.personal import is_card, is_phone_name, replace_personal
from agenther_live.redact.secrets import PLACED, harmless, is_secret_name, replace_secrets

__all__ = ["PLACEHOLDER", "Redactor", "key_is_there", "load_key"]

PLACEHOLDER = PLACED
"""Matches a placeholder; a text that holds one is not trained on."""

_KEY = "redact.key"
_MAX_DEPTH = 100
_MAX_NAMES = 4096  # field names, and short texts without a secret, that are remembered
_PLAIN = frozenset({int, float, bool, type(None)})
_MAX_ROUNDS = 6
_MAX_NESTING = 8  # JSON in a string in JSON in a string …

Count = Callable[[str, int], None]


class _TooDeep(Exception):
    pass


class Redactor:
    """Replaces secrets always, and personal data with `pii="redact"`. Thread-safe, and idempotent.

    Never raises: a text that cannot be redacted (the user's hook failed, say) is replaced whole, and counted as
    `redact_errors`.
    """

    def __init__(
        self,
        pii: Literal["redact", "keep"] | None,
        key: bytes,
        hook: Callable[[str], str] | None = None,
        *,
        count: Count | None = None,
    ) -> None:
        """Redact under a key.

        Args:
            pii: 'redact' replaces e-mail addresses, phone and card numbers, IBANs and IP addresses too.
            key: secret bytes that make placeholders; see `load_key`.
            hook: the user's own function, called with each text before ours.
            count: told (name, n) of failures.
        """
        self.errors = 0
        self._personal = pii == "redact"
        self._key = key
        self._hook = hook
        self._count = count
        self._names: dict[str, tuple[str, str | None]] = {}
        self._clean: set[str] = set()

    def text(self, text: str) -> str:
        """Give the text with placeholders; the same object where nothing was found."""
        return self._text(text, 0)

    def value(self, obj: Any) -> Any:
        """Redact JSON-like data through and through, keys included; the same object where nothing was found.

        Strings that hold JSON (arguments of tool calls) are redacted as what they hold, and are JSON afterwards. What
        JSON does not have is first turned into what the journal would store for it.
        """
        try:
            try:
                return self._value(obj, 0)
            except _TooDeep:  # or it contains itself
                return self._value(as_json(obj), 0)
        except Exception:
            return self._failed(repr(type(obj)))

    # ------------------------------------------------------------------ walking

    def _value(self, obj: Any, depth: int) -> Any:
        kind = type(obj)
        if kind is str:
            return self._text(obj, depth)
        if kind in _PLAIN:
            return self._number(obj) if kind is int and obj > 999_999_999_999 else obj
        if depth > _MAX_DEPTH:
            raise _TooDeep
        if kind is dict:
            return self._dict(obj, depth)
        if kind is list:
            return self._list(obj, depth)
        if isinstance(obj, str):
            return self._text(str(obj), depth)
        if isinstance(obj, (int, float)):
            return obj
        return self._value(as_json(obj), depth + 1)

    def _dict(self, obj: dict[Any, Any], depth: int) -> dict[Any, Any]:
        changed: dict[Any, Any] | None = None
        for name, item in obj.items():
            new_name, special = self._name(name)
            new = self._special(special, item, depth) if special is not None else self._value(item, depth + 1)
            if changed is None and (new is not item or new_name is not name):
                changed = {}
                for earlier, kept in obj.items():
                    if earlier is name:
                        break
                    changed[earlier] = kept
            if changed is not None:
                changed[new_name] = new
        return obj if changed is None else changed

    def _list(self, obj: list[Any], depth: int) -> list[Any]:
        changed: list[Any] | None = None
        for i, item in enumerate(obj):
            new = self._value(item, depth + 1)
            if changed is None and new is not item:
                changed = obj[:i]
            if changed is not None:
                changed.append(new)
        return obj if changed is None else changed

    def _name(self, name: Any) -> tuple[Any, str | None]:
        """Give a key, redacted, and what its name says of its value."""
        known = self._names.get(name) if type(name) is str else None
        if known is not None:
            return known if known[0] != name else (name, known[1])
        if type(name) is not str:
            return (self._text(name, 0) if isinstance(name, str) else name), None
        special = is_secret_name(name)
        if special is None and self._personal and is_phone_name(name):
            special = "phone"
        found = (self._text(name, 0), special)
        if len(name) <= 64:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            self._names[name] = found
        return found

    def _special(self, kind: str, item: Any, depth: int) -> Any:
        """Redact the value of a field whose name says what it is."""
        if isinstance(item, (list, tuple)):
            new = [self._special(kind, one, depth + 1) for one in item]
            return item if all(a is b for a, b in zip(new, item, strict=True)) else new
        if isinstance(item, bool) or not isinstance(item, (str, int, bytes)):
            return self._value(item, depth + 1)
        if isinstance(item, bytes):
            item = item.decode("utf-8", "replace")
        if kind == "token" and isinstance(item, int):
            return item  # a count, or a token of a language model
        if isinstance(item, str):
            if len(item) < 3 or PLACEHOLDER.fullmatch(item) or harmless(item):
                return item
            if kind == "phone" and not 7 <= sum(c.isdigit() for c in item) <= 15:
                return self._text(item, depth + 1)
        return self._put(kind, str(item))

    def _number(self, number: int) -> Any:
        digits = str(number)
        return self._put("card", digits) if self._personal and len(digits) <= 19 and is_card(digits) else number

    # ------------------------------------------------------------------ texts

    def _text(self, text: str, depth: int) -> str:
        try:
            if self._hook is not None:
                changed = self._hook(text)
                if not isinstance(changed, str):
                    raise TypeError(f"the redaction hook gave {type(changed).__name__}, not str")
                if changed != text:
                    text = changed
            if len(text) < 6 or text in self._clean:
                return text
            new = self._found(text, depth)
            if new is text and len(text) <= 64 and depth < _MAX_NESTING:
                # Names, roles and ids come again and again: remembering them halves the cost of a run.
                if len(self._clean) >= _MAX_NAMES:
                    self._clean.clear()
                self._clean.add(text)
            return new
        except Exception:  # what cannot be looked at is not written
            return self._failed(text)

    def _found(self, text: str, depth: int) -> str:
        new = text
        for _ in range(_MAX_ROUNDS):  # what stood against a secret may be seen as one only when that is gone
            before = new
            new = replace_secrets(new, self._put)
            if self._personal:
                new = replace_personal(new, self._put)
            if new == before:
                break
        if depth < _MAX_NESTING and text.lstrip()[:1] in ("{", "[", '"') and (new != text or _worth_parsing(text)):
            return self._json(text, new, depth)
        return text if new == text else new

    def _json(self, text: str, new: str, depth: int) -> str:
        """Redact a text that may be JSON as what it holds; give `new` where it is none."""
        try:
            held = orjson.loads(text)
            if self._value(held, depth + 1) is held and new == text:
                return text
            # With a parser that keeps every number as it is. Where the text alone looked guilty, what it holds is
            # written anew all the same: of a name that comes twice the parsers see the last only.
            return json.dumps(self._value(json.loads(text), depth + 1), ensure_ascii=False)
        except (ValueError, RecursionError):
            return text if new == text else new

    def _put(self, kind: str, value: str) -> str:
        if PLACEHOLDER.fullmatch(value):
            return value
        family = "PII" if kind in _PERSONAL_KINDS else "SECRET"
        digest = hmac.new(self._key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]
        return f"[{family}:{kind}:{digest}]"

    def _failed(self, text: str) -> str:
        self.errors += 1
        if self._count is not None:
            with contextlib.suppress(Exception):
                self._count("redact_errors", 1)
        return self._put("unreadable", text)


_PERSONAL_KINDS = frozenset({"email", "phone", "card", "iban", "ip"})
_ESCAPES = ("\\u00", "\\/")
_TELLING = (
    *("pass", "secret", "credential", 'token"', 'key"', 'authorization"', 'cookie"', 'pwd"', 'pin"', 'cvv"', 'cvc"'),
    *('string"', 'phone"', 'mobile"', 'number"'),
)


def _worth_parsing(text: str) -> bool:
    """Tell whether JSON text may hold what only its structure shows: a field's name, or an escaped character."""
    for escape in _ESCAPES:
        if escape in text:
            return True
    low = text.lower()
    for name in _TELLING:  # noqa: SIM110 a generator would double the cost
        if name in low:
            return True
    return False


def key_is_there(home: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the key of placeholders exists; nothing is made."""
    return bool(environment.get("AGENTHER_REDACT_KEY")) or (home / _KEY).exists()


def load_key(home: Path, environment: Mapping[str, str] = os.environ) -> bytes:
    """Give the key of placeholders: AGENTHER_REDACT_KEY (a fleet's), else `redact.key` in the home, made if missing.

    Of two processes that begin at once both get the key of the one that came first.

    Raises:
        HomeError: the file cannot be made or read, or the key is shorter than 16 bytes.
    """
    if given := environment.get("AGENTHER_REDACT_KEY"):
        if len(given) < 16:
            raise HomeError("AGENTHER_REDACT_KEY is too short: at least 16 characters are needed")
        return given.encode()
    path = home / _KEY
    try:
        key = Home(home).key(path, lambda: os.urandom(32).hex().encode()).strip()
    except OSError as error:
        raise HomeError(f"redaction key {path}: {error.strerror or error}") from None
    if len(key) < 16:
        raise HomeError(f"redaction key {path} is damaged: restore it, or remove it and all data redacted under it")
    return key
