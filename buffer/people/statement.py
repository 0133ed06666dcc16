"""A user's SQL for PostgreSQL, read as words: what may run, and its parameters in the driver's form.

DuckDB hands out its own parse of a statement; PostgreSQL does not. Reading the words is enough here, since the
transaction is read-only and has no more rights than the database's user: what is refused by name is what may change
with any version (the private tables), and functions that reach out of a reading transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from agenther_live.errors import QueryError

__all__ = ["check", "is_query", "placed"]

_READING = ("select", "with", "values", "table", "explain", "show")
_OUTSIDE = re.compile(
    r"pg_(terminate|cancel|read|ls|stat_file|reload|rotate|promote|switch|create|drop|logical|replication|notify|export)"
    r"|pg_(try_)?advisory|set_config|setval|nextval|lo_|dblink|(query|table|schema|database|cursor)_to_xml|currval"
)
_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*)
      | (?P<comment>/\*)
      | (?P<escaped>[uU]&["'])
      | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|[bBxXnN]?'(?:[^']|'')*'|\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$)
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<word>[^\W\d][\w$]*)
      | (?P<parameter>\$\w+)
      | (?P<number>\d[\w.]*)
      | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str
    text: str

    @property
    def name(self) -> str:
        """What a word names; '' where it is none."""
        if self.kind == "word":
            return self.text.lower()
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else ""


def _tokens(sql: str) -> Iterator[_Token]:
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        assert found is not None, "the last alternative takes any character"
        kind = found.lastgroup or "sign"
        end = found.end()
        if kind == "comment":
            end = _comment_end(sql, at)
        elif kind == "tag":
            kind = "text"
        yield _Token(kind, sql[at:end])
        at = end


def _comment_end(sql: str, start: int) -> int:
    """Give the end of a comment; in PostgreSQL they nest."""
    depth, at = 1, start + 2
    while depth and at < len(sql):
        if sql.startswith(("/*", "*/"), at):
            depth += 1 if sql[at] == "/" else -1
            at += 2
        else:
            at += 1
    return at


def check(sql: str, *, private: str) -> None:
    """Refuse what is not one reading statement over public names.

    Raises:
        QueryError: saying what is refused, and what to write instead.
    """
    tokens = [token for token in _tokens(sql) if token.kind not in ("blank", "comment")]
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    count = sum(token.text == ";" for token in tokens) + bool(tokens)
    if count != 1:
        raise QueryError(f"give one SQL statement, not {count}")
    first = next((token for token in tokens if token.text != "("), tokens[0])
    if first.name not in _READING:
        raise QueryError(f"{first.text.upper()} is refused: SQL here only reads (SELECT, WITH, VALUES, TABLE, EXPLAIN)")
    for index, token in enumerate(tokens):
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.kind == "escaped":
            raise QueryError('names and texts of the form U&"…" are refused')
        if token.name == private and after == ".":
            table = tokens[index + 2].name if index + 2 < len(tokens) else ""
            raise QueryError(
                f"{private}.{table} is a private table, which may change with any version: use the views "
                "(docs/sql.md lists them)"
            )
        if after == "(" and _OUTSIDE.match(token.name):
            raise QueryError(f"{token.name}() is refused: SQL here only reads the views")


def is_query(sql: str) -> bool:
    """Whether a checked statement gives rows of its own (SELECT and its like), not a report (EXPLAIN, SHOW)."""
    first = next(token for token in _tokens(sql) if token.kind not in ("blank", "comment") and token.text != "(")
    return first.name not in ("explain", "show")


def placed(sql: str, parameters: Sequence[Any] | dict[str, Any] | None) -> tuple[str, Any]:
    """Give the statement and parameters as psycopg wants them; `?` and `$1` stand for a sequence, `$name` for a dict.

    Without parameters the statement stays as it is, question marks and percent signs too.

    Raises:
        QueryError: a numbered parameter has no value.
    """
    if not parameters:
        return sql, None
    named = isinstance(parameters, dict)
    given: list[Any] = []
    parts: list[str] = []
    queue = iter(parameters if not isinstance(parameters, dict) else ())
    for kind, text in _tokens(sql):
        if kind == "parameter" and named:
            parts.append(f"%({text[1:]})s")
        elif not named and (text == "?" or (kind == "parameter" and text[1:].isdigit())):
            try:
                given.append(next(queue) if text == "?" else parameters[int(text[1:]) - 1])  # type: ignore[index]
            except (StopIteration, IndexError):
                raise QueryError(f"{len(parameters)} parameters are too few: {text} has no value") from None
            parts.append("%s")
        else:
            parts.append(text.replace("%", "%%"))
    return "".join(parts), parameters if named else given
